"""Makes reductions one after the other a single one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.simplify._facts import Facts, facts_of
from onnxopt_passes.simplify._reductions import axes_are_input, keeps_axes, reduced_axes

_OF_ALL_TYPES = ("ReduceL1", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum")
_OF_FLOATS = ("ReduceL2", "ReduceLogSumExp", "ReduceMean")
_FLOATS = (
    ir.DataType.BFLOAT16,
    ir.DataType.DOUBLE,
    ir.DataType.FLOAT,
    ir.DataType.FLOAT16,
)
_KINDS = frozenset({*_OF_ALL_TYPES, *_OF_FLOATS})


@dataclass(frozen=True)
class MergeReductions(Pass):
    """Reduce(Reduce(x, a), b) → Reduce(x, a and b), up to rounding.

    For sums, means, products, extrema, L1, L2 and LogSumExp, twice the same, where both keep their
    axes or both drop them, and all axes are neighbours: kernels go over those in one run. Means of
    integers stay: each cuts off. Where nothing else reads what is in between.
    """

    looks_for = _KINDS

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge in every graph and function."""
        facts, editor = facts_of(model), Editor(model)
        for node, version in edit.nodes_with_opset(model):
            inner = _before(node)
            if inner is None:
                continue
            axes = _all_axes(inner, node, version, facts)
            if axes is None:
                continue
            edit.record_origin(node, [inner, node])
            node.replace_input_with(0, inner.inputs[0])
            _set_axes(node, axes, version, editor)
            editor.sweep(inner)
            yield Note.applied(node, f"reduces axes {axes} at once")


def _before(node: ir.Node) -> ir.Node | None:
    """The reduction of the same kind that only this one reads."""
    if node.domain or node.op_type not in _KINDS:
        return None
    value = node.inputs[0]
    inner = None if value is None else value.producer()
    if value is None or inner is None or inner.op_identifier() != node.op_identifier():
        return None
    return inner if edit.only_consumer(value) is node else None


def _all_axes(inner: ir.Node, outer: ir.Node, version: int, facts: Facts) -> list[int] | None:
    """What both reduce, in order; None where one reduction would do something else."""
    keeps = keeps_axes(inner)
    shape = facts.shape(inner.inputs[0])
    if shape is None or keeps is None or keeps_axes(outer) != keeps:
        return None
    if outer.op_type in _OF_FLOATS and facts.dtype(inner.inputs[0]) not in _FLOATS:
        return None
    first = reduced_axes(inner, version, len(shape))
    if not first:
        return None
    left = [axis for axis in range(len(shape)) if keeps or axis not in first]
    second = reduced_axes(outer, version, len(left))
    if not second:
        return None
    axes = sorted(first | {left[axis] for axis in second})
    return axes if axes == list(range(axes[0], axes[-1] + 1)) else None


def _set_axes(node: ir.Node, axes: list[int], version: int, editor: Editor) -> None:
    if not axes_are_input(node, version):
        node.attributes["axes"] = ir.AttrInt64s("axes", axes)
        return
    value = editor.constant(node, f"{node.outputs[0].name}/axes", np.asarray(axes, np.int64))
    old = node.inputs[1] if len(node.inputs) > 1 else None
    node.resize_inputs(2)
    node.replace_input_with(1, value)
    if old is not None:
        edit.drop_if_unread(old)
