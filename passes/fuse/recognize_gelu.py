"""recognize-gelu."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from onnxopt.transform import Context, Note, Pass
from onnxopt_passes._opset import too_old
from onnxopt_passes.fuse._gate import GELU, Activation, Replacement, rewrite_gates

_FIRST_OPSET = 20


@dataclass(frozen=True)
class RecognizeGelu(Pass):
    """``x·(1 + erf(x/√2))/2 = Gelu(x)``.

    And ``x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2``, also with a sigmoid of twice the argument, is
    its approximation. Any arithmetic that comes to these formulas counts, whatever its order and
    wherever the factors stand; a Mul by ``k`` is left where they come to ``k·Gelu(x)``.
    Nothing else may read what lies in between.

    Attributes:
        domain: ``onnx`` makes Gelu of opset 20; ``microsoft`` makes Gelu and FastGelu of ONNX
            Runtime's own domain at any opset.
    """

    looks_for = frozenset(GELU)

    domain: Literal["onnx", "microsoft"] = "onnx"

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each error function, hyperbolic tangent and sigmoid."""
        yield from rewrite_gates(model, GELU, self._replacement)

    def _replacement(self, found: Activation, version: int) -> Replacement | str:
        tanh = found.kind == "tanh"
        if self.domain == "microsoft":
            return Replacement("FastGelu" if tanh else "Gelu", {}, "com.microsoft")
        written = Replacement("Gelu", {"approximate": "tanh"} if tanh else {})
        return too_old("Gelu", _FIRST_OPSET, version) or written
