"""How large the numbers of a tensor usually are around a place."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]
_FEWEST = 64
"""Numbers that a root mean square has to be of, to say what is usual."""


class Magnitude:
    """Root mean squares of a float tensor: of all its numbers, and of the slices at each place of
    each axis; around a number it is the least of those it belongs to.

    So an output that holds boxes in pixels beside scores has a magnitude for each. What is of few
    numbers, or not finite, says nothing and counts as infinite; 0 where nothing is said.
    """

    def __init__(self, array: _Array) -> None:
        self._array = array
        self._rows: dict[int, npt.NDArray[np.float64] | None] = {}

    def at(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The magnitudes around flat places."""
        if self._array.size < _FEWEST:
            return np.zeros(len(places))
        least = np.full(len(places), self._of_all)
        for axis, index in enumerate(np.unravel_index(places, self._array.shape)):
            rows = self._of_slices(axis)
            if rows is not None:
                np.minimum(least, rows[index], out=least)
        return np.where(np.isfinite(least), least, 0.0)

    @functools.cached_property
    def _numbers(self) -> _Array:
        known = self._array.dtype.kind == "f"
        return self._array if known else np.abs(self._array).astype(np.float32)

    @functools.cached_property
    def _of_all(self) -> float:
        return float(self._rms(()))

    def _of_slices(self, axis: int) -> npt.NDArray[np.float64] | None:
        if axis not in self._rows:
            enough = self._array.size // self._array.shape[axis] >= _FEWEST
            self._rows[axis] = self._rms((axis,)) if enough else None
        return self._rows[axis]

    def _rms(self, kept: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Over all other axes, in double precision and without a copy of the whole."""
        axes, numbers = tuple(range(self._array.ndim)), self._numbers
        count = self._array.size // math.prod(self._array.shape[axis] for axis in kept)
        with np.errstate(all="ignore"):
            powers = np.einsum(
                numbers, axes, numbers, axes, kept, dtype=np.float64, casting="unsafe"
            )
        means = np.where(np.isfinite(powers), powers, np.inf) / count
        return np.asarray(np.sqrt(means), np.float64)
