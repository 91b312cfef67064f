"""The numbers that integer codes stand for, and how far values are from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxopt.calibrate.statistics import TensorStatistics
from onnxopt.errors import UsageError

FloatArray = npt.NDArray[np.float64]
_FEWEST_LEVELS = 4
_LARGEST = 2.0**128
_NARROW = 1e-6  # of a step: below that, a bin is as good as its middle


@dataclass(frozen=True)
class Grid:
    """``scale * k`` for whole numbers k from ``lowest`` to ``highest``; zero is one of them.

    Attributes:
        levels: Number of codes: 256 for 8 bits.
        symmetric: Whether k runs from ``-levels / 2`` to ``levels / 2 - 1`` with the scale
            ``largest / highest``, rather than over whatever holds the range.
    """

    levels: int = 256
    symmetric: bool = False

    def __post_init__(self) -> None:
        """Check the number of levels."""
        if self.levels < _FEWEST_LEVELS or self.levels % 2:
            raise UsageError(f"levels={self.levels}", f"an even number from {_FEWEST_LEVELS}")

    def codes(self, low: float, high: float) -> tuple[float, int, int]:
        """Scale, lowest and highest k for a range, which is widened to hold zero."""
        low, high = min(low, 0.0), max(high, 0.0)
        if self.symmetric:
            half = self.levels // 2
            return max(-low, high) / (half - 1), -half, half - 1
        top = self.levels - 1
        scale = (high - low) / top
        zero = min(max(round(-low / scale), 0), top) if scale > 0 else 0
        return scale, -zero, top - zero


class Spread:
    """A tensor's finite values but for zeros, each bin's counts spread evenly over it.

    Zeros have a code of their own, whatever the range, so that they never err.

    Attributes:
        total: Number of values, zeros included.
        edges: Of the bins and the gaps between them, float64 [n + 1], ascending.
        counts: Of the bins, 0 for gaps, float64 [n].
        ends: The least range that holds all values and zero.
    """

    def __init__(self, tensor: TensorStatistics) -> None:
        lower, upper = (np.clip(edge, -_LARGEST, _LARGEST) for edge in tensor.histogram.edges())
        some = (lower > 0) | (upper < 0)
        self.total = tensor.histogram.total
        self.edges: FloatArray = np.unique(np.concatenate([lower[some], upper[some]]))
        self.counts: FloatArray = np.zeros(max(self.edges.size - 1, 0))
        self.counts[np.searchsorted(self.edges, lower[some])] = tensor.histogram.counts[some]
        self.ends = (0.0, 0.0)
        if self.counts.size:
            self.ends = min(tensor.minimum, 0.0), max(tensor.maximum, 0.0)
        self._cut = _Cut(self, tensor.minimum, tensor.maximum)

    def squared_error(self, low: float, high: float, grid: Grid) -> float:
        """Mean squared distance to the nearest number of a grid, exact for these values.

        With ``u = x / scale`` and ``k`` the code of x, the integral of ``(u - k)^2`` is
        ``k / 12 + (u - k)^3 / 3``, beyond the ends of the grid too.
        """
        scale, lowest, highest = grid.codes(low, high)
        if not (self.total and scale > 0):
            return self._cut.energy(0, self.counts.size) / max(self.total, 1)
        return self._cut.squared_error(scale, lowest, highest) / self.total


class _Cut:
    """The bins with the outermost cut at the extrema, where no value lies beyond."""

    def __init__(self, spread: Spread, minimum: float, maximum: float) -> None:
        self._edges = np.clip(spread.edges, minimum, maximum)
        width = np.diff(self._edges)
        start, end = self._edges[:-1], self._edges[1:]
        # too narrow to be integrated over in float64; such are left by the cut only
        narrow = width <= _NARROW * np.abs(end)
        self._density = np.where(narrow, 0.0, spread.counts / np.where(narrow, 1.0, width))
        self._points = end[narrow & (spread.counts > 0)]
        self._point_counts = spread.counts[narrow & (spread.counts > 0)]
        self._energies = (start**2 + start * end + end**2) / 3 * spread.counts

    def energy(self, first: int, last: int) -> float:
        """Sum of the squares of the values in some bins."""
        return float(self._energies[first:last].sum())

    def squared_error(self, scale: float, lowest: int, highest: int) -> float:
        """Sum of the squared distances to the nearest number of a grid."""
        # what rounds to zero errs by its own square: often half of the bins
        first = int(np.searchsorted(self._edges[:-1], -scale / 2, side="left"))
        last = int(np.searchsorted(self._edges[1:], scale / 2, side="right"))
        found = self.energy(first, last)
        for start, end in ((0, first), (last, self._density.size)):
            at = self._edges[start : end + 1] / scale
            codes = np.clip(np.rint(at), lowest, highest)
            off = at - codes
            integral = codes / 12 + off * off * off / 3
            found += float(np.diff(integral) @ self._density[start:end]) * scale**3
        points = self._points[np.abs(self._points) > scale / 2]
        codes = np.clip(np.rint(points / scale), lowest, highest)
        counts = self._point_counts[np.abs(self._points) > scale / 2]
        return found + float((points - codes * scale) ** 2 @ counts)


def expected_error(tensor: TensorStatistics, low: float, high: float, grid: Grid) -> float:
    """Mean squared error of a tensor's values in the codes of a range; 0 without values."""
    return Spread(tensor).squared_error(low, high, grid)
