"""Nodes whose first output is one of their inputs, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt_passes.simplify._attributes import ints_of
from onnxopt_passes.simplify._calls import takes_options
from onnxopt_passes.simplify._contents import elements
from onnxopt_passes.simplify._determinism import dropout_trains
from onnxopt_passes.simplify._expression import Number
from onnxopt_passes.simplify._facts import Facts

Rule = Callable[[ir.Node, int, Facts], bool]
_Row = list[Any]
_Axes = list[Any] | None

_UNBOUNDED = (1 << 31) - 1
_PADS_ARE_INPUT_SINCE = 11
_BOUNDS_ARE_INPUTS_SINCE = 10
_SCALES_ARE_SECOND_UNTIL = 10


def _same_shape(node: ir.Node, version: int, facts: Facts) -> bool:
    before, after = facts.shape(node.inputs[0]), facts.shape(node.outputs[0])
    return before is not None and before == after


def _same_type(node: ir.Node, version: int, facts: Facts) -> bool:
    source = facts.dtype(node.inputs[0])
    return source is not None and source == edit.attribute(node, "to", 0)


def _same_type_as_other(node: ir.Node, version: int, facts: Facts) -> bool:
    source = facts.dtype(node.inputs[0])
    return source is not None and source == facts.dtype(node.inputs[1])


def _only_part(node: ir.Node, version: int, facts: Facts) -> bool:
    return len(node.inputs) == 1


def _one_output(node: ir.Node, version: int, facts: Facts) -> bool:
    return len(node.outputs) == 1


def _infers(node: ir.Node, version: int, facts: Facts) -> bool:
    return not dropout_trains(node, version)


def _identity_order(node: ir.Node, version: int, facts: Facts) -> bool:
    perm, shape = ints_of(node, "perm"), facts.shape(node.inputs[0])
    if perm is None:
        return shape is not None and len(shape) < 2
    return perm == list(range(len(perm)))


def _whole_slice(node: ir.Node, version: int, facts: Facts) -> bool:
    """Steps of one from the first element to the last, along every axis it names."""
    shape, bounds = facts.shape(node.inputs[0]), _bounds(node, version, facts)
    if shape is None or bounds is None:
        return False
    starts, ends, axes, steps = bounds
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    rank = len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=False):
        if not isinstance(axis, int) or not -rank <= axis < rank or step != 1:
            return False
        size = shape[axis]
        if not (_is_first(start, size) and _is_last(end, size)):
            return False
    return True


def _is_first(start: Any, size: Number) -> bool:
    return start == 0 or (isinstance(start, int) and isinstance(size, int) and start <= -size)


def _is_last(end: Any, size: Number) -> bool:
    if end == size:
        return True
    return isinstance(end, int) and end >= (size if isinstance(size, int) else _UNBOUNDED)


def _is_number(*items: object) -> bool:
    return all(isinstance(item, int) for item in items)


def _bounds(node: ir.Node, version: int, facts: Facts) -> tuple[_Row, _Row, _Axes, _Axes] | None:
    """Starts, ends, axes and steps of a Slice, as far as they are given."""
    if version < _BOUNDS_ARE_INPUTS_SINCE:
        starts, ends, axes = (ints_of(node, name) for name in ("starts", "ends", "axes"))
        return None if starts is None or ends is None else (starts, ends, axes, None)
    given = [*node.inputs[1:5], None, None, None, None][:4]
    found = [elements(facts.content(value)) for value in given]
    missing = any(v is not None and items is None for v, items in zip(given, found, strict=True))
    if missing or found[0] is None or found[1] is None:
        return None
    return found[0], found[1], found[2], found[3]


def _no_padding(node: ir.Node, version: int, facts: Facts) -> bool:
    if version < _PADS_ARE_INPUT_SINCE:
        pads = ints_of(node, "pads") or ints_of(node, "paddings")
    else:
        pads = elements(facts.content(node.inputs[1]))
    return pads is not None and all(_is_number(pad) and pad == 0 for pad in pads)


def _once(node: ir.Node, version: int, facts: Facts) -> bool:
    repeats = elements(facts.content(node.inputs[1])) if version >= 6 else None
    return repeats is not None and all(_is_number(x) and x == 1 for x in repeats)


def _matrix(node: ir.Node, version: int, facts: Facts) -> bool:
    shape = facts.shape(node.inputs[0])
    return shape is not None and len(shape) == 2 and edit.attribute(node, "axis", 1) in (1, -1)


def _every_index(node: ir.Node, version: int, facts: Facts) -> bool:
    """Gather of 0, 1, 2 … up to the last element of the axis."""
    shape, axis = facts.shape(node.inputs[0]), edit.attribute(node, "axis", 0)
    if shape is None or not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
        return False
    size, tensor = shape[axis], edit.constant_tensor(node.inputs[1])
    if not isinstance(size, int) or tensor is None or tuple(tensor.shape.numpy()) != (size,):
        return False
    return bool((tensor.numpy() == np.arange(size)).all())


def _same_size(node: ir.Node, version: int, facts: Facts) -> bool:
    """Resize by factors of one, or to the sizes that are there."""
    odd_mode = edit.attribute(node, "mode", "nearest") not in ("nearest", "linear")
    coordinates = edit.attribute(node, "coordinate_transformation_mode", "half_pixel")
    if odd_mode or coordinates == "tf_crop_and_resize" or "axes" in node.attributes:
        return False
    position = 1 if version <= _SCALES_ARE_SECOND_UNTIL or node.op_type == "Upsample" else 2
    scales = edit.constant(node.inputs[position]) if len(node.inputs) > position else None
    if scales is not None and scales.size:
        return bool((scales == 1).all())
    sizes = elements(facts.content(node.inputs[3])) if len(node.inputs) > 3 else None
    shape = facts.shape(node.inputs[0])
    return sizes is not None and shape is not None and sizes == list(shape)


def _nothing_written(node: ir.Node, version: int, facts: Facts) -> bool:
    shape = facts.shape(node.inputs[1])
    counts = shape[:-1] if shape is not None and node.op_type == "ScatterND" else shape
    return counts is not None and 0 in counts


NOOPS: Mapping[str, Rule] = MappingProxyType(
    {
        "Cast": _same_type,
        "CastLike": _same_type_as_other,
        "Concat": _only_part,
        "Dropout": _infers,
        "Expand": _same_shape,
        "Flatten": _matrix,
        "Gather": _every_index,
        "Max": _only_part,
        "Mean": _only_part,
        "Min": _only_part,
        "Pad": _no_padding,
        "Reshape": _same_shape,
        "Resize": _same_size,
        "ScatterElements": _nothing_written,
        "ScatterND": _nothing_written,
        "Slice": _whole_slice,
        "Split": _one_output,
        "Squeeze": _same_shape,
        "Sum": _only_part,
        "Tile": _once,
        "Transpose": _identity_order,
        "Upsample": _same_size,
    }
)
"""Op → whether its first output is its first input."""


def chosen_branch(node: ir.Node, facts: Facts) -> ir.Value | None:
    """The input of a Where that is its output, shape included."""
    items = elements(facts.content(node.inputs[0]))
    if items is None:
        array = edit.constant(node.inputs[0])
        first = None if array is None or not array.size else bool(array.reshape(-1)[0])
        same = array is not None and first is not None and bool((array == first).all())
        items = [first] if same else None
    if not items or any(not isinstance(x, bool) or x != items[0] for x in items):
        return None
    source, shape = node.inputs[1 if items[0] else 2], facts.shape(node.outputs[0])
    return source if shape is not None and facts.shape(source) == shape else None


def put_together(node: ir.Node) -> ir.Value | None:
    """The tensor whose parts, all of them and in order, a Concat joins where they were cut."""
    split = node.inputs[0].producer() if node.inputs[0] is not None else None
    if split is None or not edit.is_op(split, "Split") or split.graph is not node.graph:
        return None
    if tuple(node.inputs) != tuple(split.outputs) or takes_options(split):
        return None
    same = edit.attribute(node, "axis", 1) == edit.attribute(split, "axis", 0)
    return split.inputs[0] if same else None
