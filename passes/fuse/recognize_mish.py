"""recognize-mish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.transform import Context, Note, Pass
from onnxopt_passes._opset import too_old
from onnxopt_passes.fuse._gate import Activation, Gate, Replacement, rewrite_gates

_FIRST_OPSET = 18
_GATES = {"Tanh": (Gate("mish", {1: 1.0}, {(1, 1): 1.0}, inner="Softplus"),)}


@dataclass(frozen=True)
class RecognizeMish(Pass):
    """``x·tanh(softplus(x)) = Mish(x)``.

    Nothing else may read what lies in between; a Mul by ``k`` is left where the factors come to
    ``k·Mish(x)``. Run recognize-softplus first for spellings with Exp and Log.
    """

    looks_for = frozenset({"Softplus"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each hyperbolic tangent."""
        yield from rewrite_gates(model, _GATES, _replacement)


def _replacement(found: Activation, version: int) -> Replacement | str:
    return too_old("Mish", _FIRST_OPSET, version) or Replacement("Mish", {})
