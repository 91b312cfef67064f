"""Which features, the places along the last axis, a value has of another one."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import attribute, is_op
from onnxopt_passes.simplify._contents import slice_bounds
from onnxopt_passes.simplify._facts import Facts

_LONGEST = 4


@dataclass(frozen=True)
class Features:
    """Some features of a value.

    Attributes:
        base: The value.
        places: Their places along its last axis, in order.
    """

    base: ir.Value
    places: tuple[int, ...]


def features_of(value: ir.Value | None, facts: Facts, version: int) -> Features | None:
    """Read a value as features of another, through Slice and Split along the last axis."""
    size = size_of(value, facts)
    if value is None or size is None:
        return None
    base, places = value, tuple(range(size))
    for _ in range(_LONGEST):
        below = _taken(base, facts, version)
        source = base.producer()
        if below is None or source is None or source.inputs[0] is None:
            break
        base, places = source.inputs[0], tuple(below[place] for place in places)
    return Features(base, places)


def size_of(value: ir.Value | None, facts: Facts) -> int | None:
    """The number of features, where it is known."""
    shape = facts.shape(value)
    size = None if not shape else shape[-1]
    return size if isinstance(size, int) else None


def _taken(value: ir.Value, facts: Facts, version: int) -> range | None:
    """The features that a Slice or Split takes for a value from what it reads."""
    node = value.producer()
    source = None if node is None or not node.inputs else node.inputs[0]
    rank, size = len(facts.shape(source) or ()), size_of(source, facts)
    if node is None or source is None or size is None:
        return None
    if is_op(node, "Split"):
        return _split_off(node, value, rank, facts)
    bounds = slice_bounds(node, version, rank) if is_op(node, "Slice") else None
    if bounds is None or len(bounds) != 1:
        return None
    axis, start, end, step = bounds[0]
    return range(size)[start:end:step] if axis == rank - 1 and step > 0 else None


def _split_off(node: ir.Node, value: ir.Value, rank: int, facts: Facts) -> range | None:
    sizes = [size_of(output, facts) for output in node.outputs]
    counts = [size for size in sizes if size is not None]
    if attribute(node, "axis", 0) not in (-1, rank - 1) or len(counts) < len(sizes):
        return None
    place = list(node.outputs).index(value)
    start = sum(counts[:place])
    return range(start, start + counts[place])
