"""Removes nodes that change at most the sign of a zero."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._attributes import axes_of
from onnxopt_passes.simplify._bypass import pass_on
from onnxopt_passes.simplify._facts import Facts, facts_of
from onnxopt_passes.simplify._neutral import ROUNDING, other_operand

_AXES_ARE_INPUT_SINCE = {"ReduceSum": 13}
_AXES_ARE_INPUT_OF_OTHERS_SINCE = 18
_REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"})


@dataclass(frozen=True)
class EliminateRoundingNoops(Pass):
    """x + 0 → x, x - (-0.0) → x, and ReduceMean of one element → that element.

    They turn -0.0 into +0.0 at most. A constant that broadcasts x to another shape stays. Sums,
    means, products and extrema go where every reduced axis is known to have one element and is
    kept.
    """

    exactness = Exactness.ROUNDING

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Bypass in every graph and function."""
        facts, editor = facts_of(model), Editor(model)
        for node, version in edit.nodes_with_opset(model):
            if node.domain or len(node.outputs) != 1:
                continue
            source = other_operand(node, version, facts, ROUNDING)
            if source is None and _reduces_nothing(node, version, facts):
                source = node.inputs[0]
            if source is not None:
                yield from pass_on(node, source, editor)


def _reduces_nothing(node: ir.Node, version: int, facts: Facts) -> bool:
    if node.op_type == "GlobalAveragePool":
        shape = facts.shape(node.inputs[0])
        return shape is not None and len(shape) > 2 and all(size == 1 for size in shape[2:])
    if node.op_type not in _REDUCTIONS or edit.attribute(node, "keepdims", 1) != 1:
        return False
    since = _AXES_ARE_INPUT_SINCE.get(node.op_type, _AXES_ARE_INPUT_OF_OTHERS_SINCE)
    shape, axes = facts.shape(node.inputs[0]), axes_of(node, version, since=since)
    if shape is None or not axes:
        return False
    return all(-len(shape) <= axis < len(shape) and shape[axis] == 1 for axis in axes)
