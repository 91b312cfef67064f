"""Lets reductions drop or keep their axes by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._attributes import axes_of
from onnxopt_passes.simplify._facts import Facts, facts_of

_AXES_ARE_INPUT_SINCE = {"ReduceSum": 13}
_AXES_ARE_INPUT_OF_OTHERS_SINCE = 18
_SQUEEZE_TAKES_AXES_SINCE = 13
_ARG = ("ArgMax", "ArgMin")
_REDUCTIONS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
)


@dataclass(frozen=True)
class MergeSqueezedReductions(Pass):
    """Squeeze(Reduce<keepdims=1>(x, a), a) → Reduce<keepdims=0>(x, a), and the other way round.

    The other way round: an Unsqueeze puts the axes back. ArgMax and ArgMin too. Where nothing else
    reads what is in between.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Squeeze", "Unsqueeze"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge in every graph; ranks in functions are not known."""
        facts, editor = facts_of(model), Editor(model)
        for node, version in edit.nodes_with_opset(model):
            if not edit.is_op(node, "Squeeze", "Unsqueeze") or node.inputs[0] is None:
                continue
            inner = node.inputs[0].producer()
            if inner is None or edit.only_consumer(node.inputs[0]) is not node:
                continue
            keeps = node.op_type == "Squeeze"
            if not edit.is_op(inner, *_ARG, *_REDUCTIONS):
                continue
            if edit.attribute(inner, "keepdims", 1) != int(keeps):
                continue
            if _axes_agree(inner, node, version, facts):
                inner.attributes["keepdims"] = ir.AttrInt64("keepdims", int(not keeps))
                inner.outputs[0].shape = None
                edit.record_origin(inner, [inner, node])
                editor.replace(node.outputs[0], inner.outputs[0])
                editor.sweep(node)
                yield Note.applied(inner, f"does without {edit.label(node)}")


def _axes_agree(inner: ir.Node, outer: ir.Node, version: int, facts: Facts) -> bool:
    shape = facts.shape(inner.inputs[0])
    axes = axes_of(outer, version, since=_SQUEEZE_TAKES_AXES_SINCE)
    if edit.is_op(inner, *_ARG):
        axis = edit.attribute(inner, "axis", 0)
        reduced = [axis] if isinstance(axis, int) else None
    else:
        since = _AXES_ARE_INPUT_SINCE.get(inner.op_type, _AXES_ARE_INPUT_OF_OTHERS_SINCE)
        reduced = axes_of(inner, version, since=since)
    if shape is None or not axes or not reduced:
        return False
    rank = len(shape)
    return {axis % rank for axis in axes} == {axis % rank for axis in reduced}
