"""Takes one slice out of a tensor in one node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._attributes import axes_of
from onnxopt_passes.simplify._contents import slice_bounds
from onnxopt_passes.simplify._facts import Facts, facts_of

_AXES_ARE_INPUT_SINCE = 13


@dataclass(frozen=True)
class MergeGathers(Pass):
    """Unsqueeze(Gather(x, i)) → Gather(x, [i]), Squeeze(x[i:i+1]) → Gather(x, i).

    Also Squeeze(Gather(x, [i])). Along one axis, for a constant i, where nothing but such nodes
    reads what is in between. A slice of no element cannot be squeezed, nor gathered.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Gather", "Slice"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge in every graph and function."""
        facts, editor = facts_of(model), Editor(model)
        for node, version in edit.nodes_with_opset(model):
            if not edit.is_op(node, "Squeeze", "Unsqueeze") or node.inputs[0] is None:
                continue
            inner = node.inputs[0].producer()
            if inner is None or not edit.is_op(inner, "Gather", "Slice"):
                continue
            if not _serves_only(node.inputs[0], node.op_type):
                continue
            index = _index(inner, node, version, facts)
            if index is None:
                continue
            _replace(inner, node, *index, editor)
            yield Note.applied(node, f"a Gather in one with {edit.label(inner)}")


def _serves_only(value: ir.Value, op_type: str) -> bool:
    if value.is_graph_output():
        return False
    graph = value.producer().graph if value.producer() else None  # type: ignore[union-attr]
    return all(use.node.op_type == op_type and use.node.graph is graph for use in value.uses())


def _index(inner: ir.Node, outer: ir.Node, version: int, facts: Facts) -> tuple[int, int] | None:
    """(axis, index) of the one element that both take."""
    axes, shape = axes_of(outer, version, since=_AXES_ARE_INPUT_SINCE), facts.shape(inner.inputs[0])
    if axes is None or len(axes) != 1 or shape is None:
        return None
    rank = len(shape)
    axis = axes[0] % rank if -rank <= axes[0] < rank else None
    if edit.is_op(inner, "Gather"):
        index = edit.constant(inner.inputs[1])
        along, wanted = edit.attribute(inner, "axis", 0), 0 if outer.op_type == "Unsqueeze" else 1
        if index is None or index.size != 1 or index.ndim != wanted or not isinstance(along, int):
            return None
        return (along % rank, int(index.reshape(-1)[0])) if along % rank == axis else None
    if edit.is_op(inner, "Slice") and outer.op_type == "Squeeze" and axis is not None:
        bounds = slice_bounds(inner, version, rank)
        if bounds is None or len(bounds) != 1 or bounds[0][0] != axis:
            return None
        return _single(bounds[0], shape[axis])
    return None


def _single(bound: tuple[int, int, int, int], size: object) -> tuple[int, int] | None:
    axis, start, end, step = bound
    if step != 1:
        return None
    if isinstance(size, int):
        places = range(size)[start:end]
        return (axis, places.start) if len(places) == 1 else None
    if start >= 0 and end == start + 1:
        return (axis, start)
    if start < 0 and (end == start + 1 < 0 or (start == -1 and end >= (1 << 31) - 1)):
        return (axis, start)
    return None


def _replace(inner: ir.Node, outer: ir.Node, axis: int, index: int, editor: Editor) -> None:
    """Turn the outer node into the Gather, in place."""
    vector = outer.op_type == "Unsqueeze"
    array = np.asarray([index] if vector else index, dtype=np.int64)
    name = f"{outer.outputs[0].name}/index"
    constant = editor.constant(outer, name, array)
    outer.op_type = "Gather"
    outer.resize_inputs(2)
    outer.replace_input_with(0, inner.inputs[0])
    outer.replace_input_with(1, constant)
    outer.attributes.clear()
    outer.attributes["axis"] = ir.AttrInt64("axis", axis)
    edit.record_origin(outer, [inner, outer])
    editor.sweep(inner)
