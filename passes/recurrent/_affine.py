"""Affine forms: what a step of a cell computes before an activation, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import constant, label

MOST_TERMS = 12
"""A sum of more products is no gate; a bound keeps long residual chains linear."""

Direction = Literal["forward", "backward"]
Index = int | ir.Value | Direction


@dataclass(frozen=True)
class Leaf:
    """A tensor ``[batch, width]`` that a step reads: a value, or one position of it on an axis.

    Attributes:
        value: The tensor, or the tensor with one axis more that a position is taken from.
        axis: That axis, 0 or 1; None where the value itself is meant.
        index: The position: a number, a loop's index value, or the way a Scan walks.
        swapped: Whether the first two axes of the value were exchanged on the way.
        turned: The axes of the value that were turned around on the way.
        read: The value with exactly this content, where the model has one.
    """

    value: ir.Value
    axis: int | None = None
    index: Index | None = None
    swapped: bool = False
    turned: frozenset[int] = frozenset()
    read: ir.Value | None = field(default=None, compare=False)

    def own(self, axis: int) -> int:
        """The axis of the value behind an axis, 0 or 1, of what is seen of it."""
        return 1 - axis if self.swapped else axis


@dataclass(frozen=True)
class Weight:
    """A window of a constant matrix, ``scale·W[rows, columns]`` (of ``Wᵀ`` if transposed).

    The constant may have a leading axis of size one, as the weights of recurrent operators do.
    """

    value: ir.Value
    transposed: bool
    rows: tuple[int, int]
    columns: tuple[int, int]
    scale: float = 1.0

    def array(self) -> npt.NDArray[np.float64]:
        """The window in float64, shape ``[rows, columns]``."""
        whole = constant(self.value)
        if whole is None:
            raise ValueError(f"{self.value.name} is no constant")
        whole = whole.reshape(whole.shape[-2:])
        whole = whole.T if self.transposed else whole
        window = whole[slice(*self.rows), slice(*self.columns)].astype(np.float64)
        return window if self.scale == 1.0 else window * self.scale

    @property
    def order(self) -> tuple[str, bool, tuple[int, int], tuple[int, int], float]:
        """A key to sort by."""
        name = self.value.name or _made_by(self.value)
        return (name, self.transposed, self.rows, self.columns, self.scale)


@dataclass(frozen=True)
class Offset:
    """A window of a constant vector, which may be repeated over leading axes."""

    value: ir.Value
    columns: tuple[int, int]
    scale: float = 1.0

    def array(self) -> npt.NDArray[np.float64] | None:
        """The window in float64, shape ``[columns]``; None where it differs along a batch."""
        whole = constant(self.value)
        if whole is None:
            return None
        rows = whole.reshape(-1, whole.shape[-1]) if whole.ndim else whole.reshape(1, 1)
        if rows.shape[0] != 1 and not (rows == rows[:1]).all():
            return None
        start, stop = self.columns
        row = rows[0].astype(np.float64) * self.scale
        return np.full(stop - start, row[0]) if row.size == 1 else row[start:stop]


@dataclass(frozen=True)
class Affine:
    """``Σ leaf·weight + Σ offset`` of a known width."""

    width: int
    terms: tuple[tuple[Leaf, Weight], ...]
    offsets: tuple[Offset, ...] = ()

    def window(self, start: int, stop: int) -> Affine:
        """Some of the columns."""
        terms = tuple(
            (leaf, replace(w, columns=(w.columns[0] + start, w.columns[0] + stop)))
            for leaf, w in self.terms
        )
        offsets = tuple(
            replace(o, columns=(o.columns[0] + start, o.columns[0] + stop)) for o in self.offsets
        )
        return Affine(stop - start, terms, offsets)

    def scaled(self, factor: float) -> Affine:
        """The multiple by a number."""
        terms = tuple((leaf, replace(w, scale=w.scale * factor)) for leaf, w in self.terms)
        offsets = tuple(replace(o, scale=o.scale * factor) for o in self.offsets)
        return Affine(self.width, terms, offsets)

    def plus(self, other: Affine) -> Affine | None:
        """The sum; None where the widths differ or it grows too long."""
        if self.width != other.width or len(self.terms) + len(other.terms) > MOST_TERMS:
            return None
        return Affine(self.width, self.terms + other.terms, self.offsets + other.offsets)

    def shifted(self, value: ir.Value, scale: float = 1.0) -> Affine | None:
        """The sum with a constant; None where its shape does not fit or the sum grows too long."""
        shape = constant_shape(value)
        wide = shape is not None and (shape[-1:] or (1,))[0] in (1, self.width)
        if not wide or len(self.offsets) >= MOST_TERMS:
            return None
        return replace(self, offsets=(*self.offsets, Offset(value, (0, self.width), scale)))

    def offset(self, value: ir.Value, start: int) -> Affine:
        """The sum with a window of a longer constant vector."""
        offset = Offset(value, (start, start + self.width))
        return replace(self, offsets=(*self.offsets, offset))

    def at(self, axis: int, index: Index) -> Affine | None:
        """One position of every leaf on an axis; None where a leaf is a position already."""
        return self._moved(lambda leaf: replace(leaf, axis=leaf.own(axis), index=index, read=None))

    def exchanged(self) -> Affine | None:
        """The first two of three axes exchanged."""
        return self._moved(lambda leaf: replace(leaf, swapped=not leaf.swapped, read=None))

    def backwards(self, axis: int) -> Affine | None:
        """An axis that is not the last, turned around."""
        return self._moved(lambda leaf: _turned(leaf, axis))

    def _moved(self, move: Callable[[Leaf], Leaf]) -> Affine | None:
        if any(leaf.axis is not None for leaf, _ in self.terms):
            return None
        if any(max((constant_shape(o.value) or ())[:-1], default=1) > 1 for o in self.offsets):
            return None
        return replace(self, terms=tuple((move(leaf), weight) for leaf, weight in self.terms))

    def bias(self) -> npt.NDArray[np.float64] | None:
        """The sum of all offsets, shape ``[width]``; None where one differs along a batch."""
        total = np.zeros(self.width)
        for offset in self.offsets:
            part = offset.array()
            if part is None:
                return None
            total += part
        return total


def _turned(leaf: Leaf, axis: int) -> Leaf:
    return replace(leaf, turned=leaf.turned ^ {leaf.own(axis)}, read=None)


def constant_shape(value: ir.Value) -> tuple[int, ...] | None:
    """The shape of a constant of numbers, without reading it; None for anything else."""
    tensor = None if value.is_graph_input() else ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return None
    return tuple(int(str(size)) for size in tensor.shape)


def _made_by(value: ir.Value) -> str:
    node = value.producer()
    return "" if node is None else label(node)
