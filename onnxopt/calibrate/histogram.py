"""A histogram of float32 values whose bins need no range and merge exactly.

A bin is the top 16 bits of a value's pattern: sign, exponent and 7 bits of mantissa. So every bin
is at most 2^-7 of its values wide, whatever the data, and two histograms merge by adding counts.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
_SIGN = 0x8000
_HIGH_HALF = slice(1 if sys.byteorder == "little" else 0, None, 2)
_CHUNK = 1 << 18  # elements counted at once: their 64-bit copy stays in the cache
_FEW = 1 << 13  # elements up to which sorting is faster than counting into all bins


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of the occupied bins, by ascending value.

    Attributes:
        bins: uint16 [n]; the bin's place in value order: 0x8000 + pattern for positive values,
            0xFFFF - pattern for negative ones.
        counts: int64 [n], all positive.
    """

    bins: npt.NDArray[np.uint16]
    counts: npt.NDArray[np.int64]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        same_bins = np.array_equal(self.bins, other.bins)
        return same_bins and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]

    @property
    def nbytes(self) -> int:
        """Memory of the occupied bins."""
        return int(self.bins.nbytes + self.counts.nbytes)

    @property
    def total(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    def merge(self, other: Histogram) -> Histogram:
        """The histogram of both data sets together."""
        bins, place = np.unique(np.concatenate([self.bins, other.bins]), return_inverse=True)
        counts = np.zeros(bins.size, np.int64)
        np.add.at(counts, place, np.concatenate([self.counts, other.counts]))
        return Histogram(bins, counts)

    def edges(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Lower and upper edge of each bin, float64 [n]; the outermost may be infinite."""
        negative = self.bins < _SIGN
        pattern = np.where(negative, 0x7FFF - self.bins, self.bins - _SIGN).astype(np.uint32)
        inner, outer = _lowest(pattern), _lowest(pattern + 1)
        return np.where(negative, -outer, inner), np.where(negative, -inner, outer)

    def quantile(self, q: float, low: float, high: float) -> float:
        """The value that a share ``q`` of the data lies below, for data within [low, high].

        The counts of a bin are taken as spread evenly between its edges, clipped to [low, high];
        so ``q=0`` gives ``low`` and ``q=1`` gives ``high``.
        """
        lower, upper = (np.clip(edge, low, high) for edge in self.edges())
        reached = np.cumsum(self.counts)
        rank = min(max(q, 0.0), 1.0) * float(reached[-1])
        place = min(int(np.searchsorted(reached, rank)), self.counts.size - 1)
        share = 1.0 - (float(reached[place]) - rank) / float(self.counts[place])
        return float(lower[place] + share * (upper[place] - lower[place]))


NO_VALUES = Histogram(np.zeros(0, np.uint16), np.zeros(0, np.int64))
"""The histogram of nothing."""


class HistogramBuilder:
    """Counts values as they come; holds only the occupied range of bins of each sign."""

    def __init__(self) -> None:
        self._positive = _Window()
        self._negative = _Window()

    def add(self, values: FloatArray) -> None:
        """Count finite values, float32 [n], contiguous."""
        for start in range(0, values.size, _CHUNK):
            chunk = values[start : start + _CHUNK]
            if chunk.size <= _FEW:
                self._add_few(chunk)
                continue
            counts = np.bincount(chunk.view(np.uint16)[_HIGH_HALF])
            self._negative.add(counts[_SIGN:])
            end = _pattern(chunk.max()) + 1 if counts.size > _SIGN else counts.size
            self._positive.add(counts[:end])

    def _add_few(self, chunk: FloatArray) -> None:
        patterns, counts = np.unique(chunk.view(np.uint16)[_HIGH_HALF], return_counts=True)
        start = int(np.searchsorted(patterns, _SIGN))
        self._positive.add_occupied(patterns[:start], counts[:start])
        self._negative.add_occupied(patterns[start:] - _SIGN, counts[start:])

    def build(self) -> Histogram:
        """The histogram of all values so far."""
        negative, positive = self._negative.occupied(), self._positive.occupied()
        bins = np.concatenate([0x7FFF - negative[0][::-1], _SIGN + positive[0]])
        counts = np.concatenate([negative[1][::-1], positive[1]])
        return Histogram(bins.astype(np.uint16), counts)


class _Window:
    """Counts of patterns; zeros apart, because they would stretch the range to all exponents."""

    def __init__(self) -> None:
        self._zeros = 0
        self._first = 0
        self._counts = np.zeros(0, np.int64)

    def add(self, counts: npt.NDArray[np.intp]) -> None:
        """Add the counts of patterns 0 to n - 1."""
        occupied = counts[1:] != 0
        first = int(occupied.argmax()) + 1 if occupied.size else 0
        self._zeros += int(counts[0]) if counts.size else 0
        if first and counts[first]:
            self._make_room(first, counts.size)
            self._counts[first - self._first : counts.size - self._first] += counts[first:]

    def add_occupied(self, patterns: npt.NDArray[np.uint16], counts: npt.NDArray[np.intp]) -> None:
        """Add the counts of these patterns, which ascend."""
        if patterns.size and not patterns[0]:
            self._zeros += int(counts[0])
            patterns, counts = patterns[1:], counts[1:]
        if patterns.size:
            self._make_room(int(patterns[0]), int(patterns[-1]) + 1)
            self._counts[patterns.astype(np.intp) - self._first] += counts

    def _make_room(self, first: int, last: int) -> None:
        if not self._counts.size:
            self._first, self._counts = first, np.zeros(last - first, np.int64)
            return
        before = max(self._first - first, 0)
        after = max(last - self._first - self._counts.size, 0)
        if before or after:
            self._counts = np.pad(self._counts, (before, after))
            self._first -= before

    def occupied(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Occupied patterns, ascending, and their counts."""
        places = np.flatnonzero(self._counts)
        patterns, counts = places + self._first, self._counts[places]
        if not self._zeros:
            return patterns, counts
        return np.concatenate([[0], patterns]), np.concatenate([[self._zeros], counts])


def _pattern(value: np.float32) -> int:
    """The top 16 bits of a positive number, 0 for others."""
    return int(value.view(np.uint32)) >> 16 if value > 0 else 0


def _lowest(patterns: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.float64]:
    """The least magnitude whose top 16 bits are these."""
    values = np.left_shift(patterns, 16, dtype=np.uint32).view(np.float32)
    wide: npt.NDArray[np.float64] = values.astype(np.float64)
    return wide
