"""recognize-silu."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from onnxopt.transform import Context, Note, Pass
from onnxopt_passes._opset import too_old
from onnxopt_passes.fuse._gate import Activation, Gate, Replacement, rewrite_gates

_FIRST_OPSET = 24
_GATES = {
    "Sigmoid": (Gate("silu", {1: 1.0}, {(1, 1): 1.0}, any_slope=True),),
    "Tanh": (Gate("silu", {1: 0.5}, {(1, 0): 0.5, (1, 1): 0.5}, any_slope=True),),
}


@dataclass(frozen=True)
class RecognizeSilu(Pass):
    """``x·sigmoid(a·x) = Swish(x; a)``: SiLU where ``a = 1``, QuickGELU where ``a = 1.702``.

    Any arithmetic that comes to this counts, also with a hyperbolic tangent of half the argument.
    ONNX Runtime's CPU provider makes one node of Sigmoid and Mul by itself and has no kernel for
    Swish, so the pass is for devices that do.

    Attributes:
        domain: ``onnx`` makes Swish of opset 24; ``microsoft`` makes QuickGelu of ONNX Runtime's
            own domain at any opset.
    """

    looks_for = frozenset(_GATES)

    domain: Literal["onnx", "microsoft"] = "onnx"

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each sigmoid and hyperbolic tangent."""
        yield from rewrite_gates(model, _GATES, self._replacement)

    def _replacement(self, found: Activation, version: int) -> Replacement | str:
        if self.domain == "microsoft":
            return Replacement("QuickGelu", {"alpha": found.slope}, "com.microsoft")
        written = Replacement("Swish", {} if found.slope == 1.0 else {"alpha": found.slope})
        return too_old("Swish", _FIRST_OPSET, version) or written
