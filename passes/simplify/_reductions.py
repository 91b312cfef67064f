"""Which axes a reduction is over, however an opset spells them."""

from __future__ import annotations

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt_passes.simplify._attributes import axes_of

SEARCHES = ("ArgMax", "ArgMin")
REDUCTIONS = (
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
_AXES_ARE_INPUT_SINCE = {"ReduceSum": 13}
_AXES_ARE_INPUT_OF_OTHERS_SINCE = 18


def axes_are_input(node: ir.Node, version: int) -> bool:
    """Whether a reduction takes its axes as its second input."""
    return version >= _AXES_ARE_INPUT_SINCE.get(node.op_type, _AXES_ARE_INPUT_OF_OTHERS_SINCE)


def written_axes(node: ir.Node, version: int) -> list[int] | None:
    """The axes of a reduction or search as written; None where it names none, or not for good."""
    if edit.is_op(node, *SEARCHES):
        axis = edit.attribute(node, "axis", 0)
        known = isinstance(axis, int) and not _is_ref(node, "axis")
        return [axis] if isinstance(axis, int) and known else None
    since = 0 if axes_are_input(node, version) else version + 1
    return axes_of(node, version, since=since)


def reduced_axes(node: ir.Node, version: int, rank: int) -> frozenset[int] | None:
    """The axes of a reduction or search over a tensor of that rank, counted from the first.

    None where they are not known for good.
    """
    axes = written_axes(node, version)
    if axes is None:
        named = len(node.inputs) > 1 and node.inputs[1] is not None
        if named or "axes" in node.attributes or edit.is_op(node, *SEARCHES):
            return None
        axes = []
    if not axes:
        if _is_ref(node, "noop_with_empty_axes"):
            return None
        nothing = bool(edit.attribute(node, "noop_with_empty_axes", 0))
        return frozenset() if nothing else frozenset(range(rank))
    if not all(-rank <= axis < rank for axis in axes):
        return None
    return frozenset(axis % rank for axis in axes)


def keeps_axes(node: ir.Node) -> bool | None:
    """Whether reduced axes stay with one element; None where a caller says so."""
    return None if _is_ref(node, "keepdims") else bool(edit.attribute(node, "keepdims", 1))


def _is_ref(node: ir.Node, name: str) -> bool:
    attr = node.attributes.get(name)
    return attr is not None and attr.is_ref()
