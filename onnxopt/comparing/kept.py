"""Which channels of each tensor are left of those the original model has, written down.

A pass that takes channels out leaves names alone: a tensor ``t`` then is some channels of the
original's ``t``. Which ones is kept in the graph's metadata, so that later passes can compare the
two: for reconstruction by least squares, or for hints while a pruned model learns.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

METADATA_KEY = "onnxopt.kept_channels"


@dataclass(frozen=True, eq=False)
class Kept:
    """What is left of one axis of a tensor.

    Attributes:
        axis: Counted from the first.
        size: Number of places of the original.
        indices: int64, increasing: the original's places that are left.
    """

    axis: int
    size: int
    indices: npt.NDArray[np.int64]

    def within(self, other: Kept) -> Kept | None:
        """The same, counted in the places that the other keeps; None where it lacks some."""
        if self.size != other.size or not np.isin(self.indices, other.indices).all():
            return None
        places = np.searchsorted(other.indices, self.indices)
        return Kept(self.axis, len(other.indices), places.astype(np.int64))

    def of(self, other: Kept) -> Kept:
        """What is left of the original where first the other was kept, and of that this."""
        return Kept(self.axis, other.size, other.indices[self.indices])


def take(array: npt.NDArray[Any], rows: Iterable[Kept]) -> npt.NDArray[Any]:
    """The places kept of an array; axes that are not of the original's size stay."""
    for row in rows:
        if row.axis < array.ndim and array.shape[row.axis] == row.size:
            array = np.take(array, row.indices, axis=row.axis)
    return array


def read(model: ir.Model) -> dict[str, tuple[Kept, ...]]:
    """What is left of every tensor that has lost something, by name; an entry for each axis."""
    text = model.graph.metadata_props.get(METADATA_KEY)
    rows: dict[str, Any] = json.loads(text) if text else {}
    return {
        name: tuple(Kept(axis, size, _decoded(code, size)) for axis, size, code in entries)
        for name, entries in rows.items()
    }


def between(reference: ir.Model, candidate: ir.Model) -> dict[str, tuple[Kept, ...]]:
    """Which of the reference's places the candidate keeps, by name of tensor.

    Axes where the candidate has places that the reference lacks are left out.
    """
    ours, theirs = read(reference), read(candidate)
    made = {}
    for name, rows in theirs.items():
        known = {row.axis: row for row in ours.get(name, ())}
        found = [row.within(known[row.axis]) if row.axis in known else row for row in rows]
        left = tuple(row for row in found if row is not None and len(row.indices) < row.size)
        if left:
            made[name] = left
    return made


def record(model: ir.Model, left: Mapping[str, Iterable[Kept]]) -> None:
    """Write down what is left of the tensors as they were, on top of what is known."""
    known = {name: {row.axis: row for row in rows} for name, rows in read(model).items()}
    for name, rows in left.items():
        axes = known.setdefault(name, {})
        for row in rows:
            axes[row.axis] = row.of(axes[row.axis]) if row.axis in axes else row
    lines = {
        name: [[row.axis, row.size, _encoded(row)] for _, row in sorted(axes.items())]
        for name, axes in sorted(known.items())
    }
    model.graph.metadata_props[METADATA_KEY] = json.dumps(lines)


def _encoded(row: Kept) -> str:
    mask = np.zeros(row.size, np.bool_)
    mask[row.indices] = True
    return base64.b64encode(np.packbits(mask).tobytes()).decode("ascii")


def _decoded(text: str, size: int) -> npt.NDArray[np.int64]:
    bits = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.flatnonzero(np.unpackbits(bits, count=size)).astype(np.int64)
