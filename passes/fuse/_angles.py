"""Tables of angles: how they lie against what they rotate, whether they say everything twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import attribute, constant, is_op
from onnxopt_passes.fuse._rotary import Rotation
from onnxopt_passes.simplify._contents import slice_bounds
from onnxopt_passes.simplify._expression import Number, is_cut
from onnxopt_passes.simplify._facts import Facts

_RANK = 4
_DEEPEST = 24
_POINTWISE = ("Cast", "Cos", "Identity", "Neg", "Sin")
_BY_NUMBER = ("Add", "Div", "Mul", "Sub")

Layout = Literal["heads-first", "positions-first"]


@dataclass(frozen=True)
class Angles:
    """How tables of angles fit a rotation.

    Attributes:
        layout: The order of heads and positions in what is rotated.
        heads: The number of heads; None where it is open.
        head_size: The number of features of a head.
        by_item: Whether each item of the batch has angles of its own.
        places: The axes of items and positions in the table of cosines, where they do.
    """

    layout: Layout
    heads: int | None
    head_size: int
    by_item: bool
    places: tuple[int, int]


def read_angles(found: Rotation, facts: Facts, version: int) -> Angles | str:
    """How the tables of a rotation fit it, or why they cannot be read as angles by position."""
    shape = facts.shape(found.source)
    if shape is None or len(shape) != _RANK:
        return f"{found.source.name} is not known to have the four axes of heads"
    tables, width = (found.tables.cos, found.tables.sin), found.size
    expected = width if found.tables.doubled else width // 2
    doubles = _Doubles(facts, version, interleaved=found.interleaved)
    layouts: set[tuple[Layout, bool]] | None = None
    for table in tables:
        sizes = facts.shape(table)
        if sizes is None or len(sizes) > _RANK or not sizes or sizes[-1] != expected:
            return f"the sizes of {table.name} do not fit"
        fitting = _layouts((1,) * (_RANK - len(sizes)) + sizes, shape)
        layouts = fitting if layouts is None else layouts & fitting
        if found.tables.doubled and not doubles.holds(table):
            return f"whether {table.name} has one angle for both features of a pair is unknown"
    if not layouts:
        return f"{tables[0].name} is not known to have a row for each position"
    layout, by_item = min(layouts)
    heads = shape[1] if layout == "heads-first" else shape[2]
    size = shape[-1]
    if not isinstance(size, int):
        return f"the number of features of {found.source.name} is unknown"
    known = heads if isinstance(heads, int) else None
    rank = len(facts.shape(tables[0]) or ())
    places = (0, rank - 2 if layout == "heads-first" or rank < _RANK else 1)
    return Angles(layout, known, size, by_item, places)


def _layouts(table: tuple[Number, ...], x: tuple[Number, ...]) -> set[tuple[Layout, bool]]:
    """The ways in which a table of four axes can be one row for each position."""
    found: set[tuple[Layout, bool]] = set()
    batch, first, second, _ = table
    by_item = batch != 1
    if by_item and batch != x[0]:
        return found
    if first == 1 and _fits(second, x[2]):
        found.add(("heads-first", by_item))
    if second == 1 and _fits(first, x[1]):
        found.add(("positions-first", by_item))
    return found


def _fits(rows: Number, positions: Number) -> bool:
    """Whether there is a row for each position wherever the two broadcast."""
    return rows == positions or is_cut(rows, positions)


class _Doubles:
    """Proves that both features of each pair have the same number in a table."""

    def __init__(self, facts: Facts, version: int, *, interleaved: bool) -> None:
        self._facts, self._version, self._interleaved = facts, version, interleaved

    def holds(self, value: ir.Value | None, depth: int = 0) -> bool:
        """Whether a table is known to say everything twice along its last axis."""
        shape = self._facts.shape(value)
        if value is None or not shape or depth > _DEEPEST:
            return False
        array = constant(value)
        node = value.producer()
        if array is not None or node is None:
            return array is not None and self._is_doubled(array)
        if is_op(node, *_POINTWISE):
            return self.holds(node.inputs[0], depth + 1)
        if is_op(node, *_BY_NUMBER):
            operands = [v for v in node.inputs if not self._is_narrow(v)]
            return bool(operands) and all(self.holds(v, depth + 1) for v in operands)
        if is_op(node, "Concat") and self._axis(node, len(shape)) == len(shape) - 1:
            twice = len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]
            return twice and not self._interleaved
        if self._interleaved and is_op(node, "Reshape") and self._is_stack(node.inputs[0]):
            return True
        return self._keeps_rows(node, shape) and self.holds(node.inputs[0], depth + 1)

    def _is_doubled(self, array: npt.NDArray[np.generic]) -> bool:
        if array.ndim == 0 or array.shape[-1] % 2:
            return False
        half = array.shape[-1] // 2
        if self._interleaved:
            return bool(np.array_equal(array[..., 0::2], array[..., 1::2]))
        return bool(np.array_equal(array[..., :half], array[..., half:]))

    def _is_narrow(self, value: ir.Value | None) -> bool:
        """Whether a value has one number for all features."""
        shape = self._facts.shape(value)
        return shape is not None and (not shape or shape[-1] == 1)

    def _is_stack(self, value: ir.Value | None) -> bool:
        """Whether a value has two equal columns along its last axis."""
        node, shape = None if value is None else value.producer(), self._facts.shape(value)
        if node is None or not shape or shape[-1] != 2:
            return False
        if is_op(node, "Concat"):
            twice = len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]
            return twice and self._axis(node, len(shape)) == len(shape) - 1
        return is_op(node, "Tile", "Expand") and self._is_narrow(node.inputs[0])

    def _keeps_rows(self, node: ir.Node, shape: tuple[Number, ...]) -> bool:
        """Whether a node's rows are rows of its first input, whole."""
        below = self._facts.shape(node.inputs[0]) if node.inputs else None
        if not below or below[-1] != shape[-1] or shape[-1] == 1:
            return False
        last = len(below) - 1
        if is_op(node, "Reshape", "Unsqueeze", "Squeeze", "Expand"):
            return True
        if is_op(node, "Transpose"):
            perm = attribute(node, "perm", ())
            return isinstance(perm, tuple | list) and bool(perm) and perm[-1] == last
        if is_op(node, "Gather"):
            return self._axis(node, len(below), default=0) != last
        bounds = slice_bounds(node, self._version, len(below)) if is_op(node, "Slice") else None
        return bounds is not None and all(axis != last for axis, *_ in bounds)

    def _axis(self, node: ir.Node, rank: int, default: int = -1) -> int:
        axis = attribute(node, "axis", default)
        return axis % rank if isinstance(axis, int) else -1
