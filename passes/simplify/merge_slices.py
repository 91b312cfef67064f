"""Makes two slices in a row one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._attributes import ints_of
from onnxopt_passes.simplify._contents import slice_bounds
from onnxopt_passes.simplify._expression import Number
from onnxopt_passes.simplify._facts import Facts, facts_of

_BOUNDS_ARE_INPUTS_SINCE = 10
_END = (1 << 63) - 1

Bound = tuple[int, int, int]


@dataclass(frozen=True)
class MergeSlices(Pass):
    """Slice(Slice(x, A), B) → Slice(x, A and B), with constant bounds, along other or equal axes.

    Along one axis twice: (x[a:b])[c:d] is x[a+c : min(b, a+d)] for bounds that count from the
    start, and any pair of forward slices where the size is known. The inner one stays where
    something else reads it.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Slice"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge along chains, first to last, in every graph and function."""
        facts, editor = facts_of(model), Editor(model)
        for node, version in edit.nodes_with_opset(model):
            if not edit.is_op(node, "Slice") or node.inputs[0] is None:
                continue
            inner = node.inputs[0].producer()
            if inner is None or not edit.is_op(inner, "Slice"):
                continue
            merged = _merged(inner, node, version, facts)
            if merged is None:
                continue
            _write(node, merged, version, editor)
            node.replace_input_with(0, inner.inputs[0])
            edit.record_origin(node, [inner, node])
            editor.sweep(inner)
            yield Note.applied(node, f"also does the slicing of {edit.label(inner)}")


def _merged(inner: ir.Node, outer: ir.Node, version: int, facts: Facts) -> dict[int, Bound] | None:
    """The bounds of both by axis; None where they do not combine."""
    shape = facts.shape(inner.inputs[0])
    first, second = (_by_axis(node, version, shape) for node in (inner, outer))
    if first is None or second is None:
        return None
    merged = dict(first)
    for axis, bound in second.items():
        size = None if shape is None else shape[axis]
        both = _along_one_axis(first[axis], bound, size) if axis in first else bound
        if both is None:
            return None
        merged[axis] = both
    return merged


def _by_axis(
    node: ir.Node, version: int, shape: tuple[Number, ...] | None
) -> dict[int, Bound] | None:
    if shape is None:  # axes that count from the front mean the same at any rank
        axes = ints_of(node, "axes") if version < 10 else _written_axes(node)
        if axes is None or any(axis < 0 for axis in axes):
            return None
    rank = len(shape) if shape is not None else 1 << 20
    bounds = slice_bounds(node, version, rank)
    if bounds is None or len({axis for axis, *_ in bounds}) != len(bounds):
        return None
    return {axis: (start, end, step) for axis, start, end, step in bounds}


def _written_axes(node: ir.Node) -> list[int] | None:
    array = edit.constant(node.inputs[3]) if len(node.inputs) > 3 else None
    return None if array is None else [int(x) for x in array.reshape(-1)]


def _along_one_axis(first: Bound, second: Bound, size: Number | None) -> Bound | None:
    (a, b, step), (c, d, stride) = first, second
    if step < 1 or stride < 1:
        return None
    if isinstance(size, int):
        places = range(size)[a:b:step][c:d:stride]
        return (places.start, places.stop, places.step) if len(places) else (0, 0, 1)
    if step == stride == 1 and min(a, b, c, d) >= 0:
        return (min(a + c, _END), min(b, a + d, _END), 1)
    return None


def _write(node: ir.Node, bounds: dict[int, Bound], version: int, editor: Editor) -> None:
    axes = sorted(bounds)
    starts, ends, steps = ([bounds[axis][i] for axis in axes] for i in range(3))
    if version < _BOUNDS_ARE_INPUTS_SINCE:
        for name, items in (("starts", starts), ("ends", ends), ("axes", axes)):
            node.attributes[name] = ir.AttrInt64s(name, items)
        return
    result = node.outputs[0].name
    rows = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    if all(step == 1 for step in steps):
        del rows["steps"]
    node.resize_inputs(1 + len(rows))
    for index, (word, items) in enumerate(rows.items(), start=1):
        array = np.asarray(items, dtype=np.int64)
        node.replace_input_with(index, editor.constant(node, f"{result}/{word}", array))
