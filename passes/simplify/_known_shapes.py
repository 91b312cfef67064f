"""Evaluates what is made of the sizes of values whose sizes are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt_passes.simplify._arrays import Array
from onnxopt_passes.simplify._inference import Inferred

Sizes = tuple[int | None, ...]

_INTEGERS: Mapping[int, np.dtype[Any]] = {
    int(ir.DataType.INT32): np.dtype(np.int32),
    int(ir.DataType.INT64): np.dtype(np.int64),
}


def reads_sizes(node: ir.Node) -> bool:
    """Whether a node is the start of a computation on sizes."""
    return edit.is_op(node, "Shape", "Size")


def from_sizes(node: ir.Node, inferred: Mapping[ir.Value, Inferred]) -> Array | None:
    """The one output of Shape, Size, or of a Gather or Slice of a shape, where it is constant.

    A shape may be partly unknown as long as the picked sizes are known.
    """
    if edit.is_op(node, "Size"):
        sizes = _sizes_of(node.inputs[0], inferred)
        known = _all_known(sizes)
        return None if known is None else np.asarray(np.prod(known, dtype=np.int64))
    if edit.is_op(node, "Shape"):
        known = _all_known(_shape_output(node, inferred))
        return None if known is None else np.asarray(known, dtype=np.int64)
    if not edit.is_op(node, "Gather", "Slice"):
        return None
    return _pick(node, inferred)


def _pick(node: ir.Node, inferred: Mapping[ir.Value, Inferred]) -> Array | None:
    source = node.inputs[0]
    producer = None if source is None else source.producer()
    dtype: np.dtype[Any] = np.dtype(np.int64)
    if edit.is_op(producer, "Cast") and producer is not None:
        to = edit.attribute(producer, "to", 0)
        if not isinstance(to, int) or to not in _INTEGERS:
            return None
        source, dtype = producer.inputs[0], _INTEGERS[to]
        producer = None if source is None else source.producer()
    if producer is None or not edit.is_op(producer, "Shape"):
        return None
    sizes = _shape_output(producer, inferred)
    if sizes is None:
        return None
    places = _places(node, len(sizes))
    if places is None:
        return None
    known = [sizes[place] for place in places.reshape(-1)]
    if any(size is None for size in known):
        return None
    return np.asarray(known, dtype=dtype).reshape(places.shape)


def _places(node: ir.Node, rank: int) -> Array | None:
    """Positions in a vector of ``rank`` elements that a Gather or a Slice takes."""
    arrays = [edit.constant(value) for value in node.inputs[1:]]
    numbers = [array.astype(np.int64) for array in arrays if array is not None]
    if len(numbers) < len(arrays) or any(array.size == 0 for array in numbers):
        return None
    everything = np.arange(rank)
    if edit.is_op(node, "Gather"):
        (indices,) = numbers
        inside = bool(((indices >= -rank) & (indices < rank)).all())
        return np.asarray(everything[indices]) if inside else None
    if len(numbers) < 2:  # below opset 10 the bounds are attributes
        return None
    starts, ends, *rest = (int(array.reshape(-1)[0]) for array in numbers)
    step = rest[1] if len(rest) > 1 else 1
    return everything[starts:ends:step] if step > 0 else None


def _shape_output(node: ir.Node, inferred: Mapping[ir.Value, Inferred]) -> Sizes | None:
    sizes = _sizes_of(node.inputs[0], inferred)
    if sizes is None:
        return None
    start = edit.attribute(node, "start", 0)
    end = edit.attribute(node, "end", len(sizes))
    return sizes[start:end] if isinstance(start, int) and isinstance(end, int) else None


def _sizes_of(value: ir.Value | None, inferred: Mapping[ir.Value, Inferred]) -> Sizes | None:
    if value is None:
        return None
    tensor = edit.constant_tensor(value)
    if tensor is not None:
        return tuple(tensor.shape.numpy())
    shape = inferred[value].shape if value in inferred else None
    return None if shape is None else tuple(d if isinstance(d, int) else None for d in shape)


def _all_known(sizes: Sizes | None) -> list[int] | None:
    if sizes is None or any(size is None for size in sizes):
        return None
    return [size for size in sizes if size is not None]
