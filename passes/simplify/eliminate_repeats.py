"""Removes ops that undo or repeat the op before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._bypass import pass_on

_UNDO_THEMSELVES = frozenset({"BitwiseNot", "Neg", "Not"})
_CHANGE_NOTHING_TWICE = frozenset({"Abs", "Ceil", "Floor", "Relu", "Round", "Sign"})


@dataclass(frozen=True)
class EliminateRepeats(Pass):
    """Not(Not(x)) → x, Neg(Neg(x)) → x, Relu(Relu(x)) → Relu(x).

    So for BitwiseNot, and for Abs, Ceil, Floor, Round and Sign.
    """

    exactness = Exactness.BITWISE
    looks_for = _UNDO_THEMSELVES | _CHANGE_NOTHING_TWICE

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Bypass in every graph and function."""
        editor = Editor(model)
        for node in edit.all_nodes(model):
            inner = node.inputs[0].producer() if node.inputs and node.inputs[0] else None
            if node.domain or inner is None or not edit.is_op(inner, node.op_type):
                continue
            source = inner.outputs[0] if node.op_type in _CHANGE_NOTHING_TWICE else None
            if node.op_type in _UNDO_THEMSELVES:
                source = inner.inputs[0]
            if source is not None:
                yield from pass_on(node, source, editor)
