"""The range that loses the least information: KL divergence over candidate thresholds.

After S. Migacz, "8-bit Inference with TensorRT", GTC 2017: P is the distribution of the values,
what lies beyond the threshold added to the end codes; Q is what the codes keep of it: each code's
share of the values inside, spread evenly over those places of its cell that hold any; the least
``sum(P log(P / Q))`` wins.

That source counts in 2048 equal bins, so that one outlier leaves a handful for all the rest. Here
P is the density of the range-free histogram, and Q its mean over each code's true cell. Zeros are
left out: they have a code of their own, as in NVIDIA's pytorch-quantization.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from onnxopt.calibrate.grids import Grid, Spread

FloatArray = npt.NDArray[np.float64]
_FACTOR = 2 ** (1 / 16)  # from one candidate to the next
_CANDIDATES = 16 * 64
_MOST_CUT = 0.5
_NEARLY_NOTHING = 1e-4  # counts that Q has in an end cell which is empty but for what is cut


def least_divergence_ends(spread: Spread, grid: Grid) -> tuple[float, float]:
    """The range, zero included, whose codes keep the most information.

    Candidates clip both sides at the same magnitude, until half of the values are cut; of equally
    good ones the widest wins.
    """
    best, whole = spread.ends, spread.ends
    if not spread.counts.size:
        return whole
    density = _Density(spread)
    least, limit = density.divergence(*whole, grid), max(-whole[0], whole[1])
    for _ in range(_CANDIDATES):
        limit /= _FACTOR
        ends = max(whole[0], -limit), min(whole[1], limit)
        found = density.divergence(*ends, grid)
        if found < least:
            best, least = ends, found
        elif not np.isfinite(found):
            break
    return best


class _Density:
    """Integrals from zero over the histogram's density p: of p, of p log p, of where p is not 0."""

    def __init__(self, spread: Spread) -> None:
        share = spread.counts / spread.counts.sum()
        width = np.where(share > 0, np.diff(spread.edges), 0.0)
        density = np.divide(share, width, out=np.ones_like(share), where=share > 0)
        information = share * np.log(density)
        self._edges = spread.edges
        self._nothing = _NEARLY_NOTHING / float(spread.counts.sum())
        self._share, self._information, self._width = (
            self._from_zero(column) for column in (share, information, width)
        )

    def _from_zero(self, column: FloatArray) -> FloatArray:
        """Running sums at the edges, outwards from zero: small bins keep their digits."""
        below = int(np.searchsorted(self._edges, 0.0))
        up = np.cumsum(column[below:])
        down = np.cumsum(column[:below][::-1])[::-1]
        return np.concatenate([-down, [0.0], up])

    def divergence(self, low: float, high: float, grid: Grid) -> float:
        """``KL(P || Q)`` of the codes of a range; inf where they hold less than half of all."""
        scale, lowest, highest = grid.codes(low, high)
        edges = (np.arange(lowest, highest + 2) - 0.5) * scale
        if not scale > 0:
            return float("inf")
        shares, widths = (np.diff(self._at(edges, table)) for table in (self._share, self._width))
        kept = float(shares.sum())
        if kept < _MOST_CUT:
            return float("inf")
        some = (shares > 0) & (widths > 0)
        inside = self._between(edges[[0, -1]], self._information)
        inside -= float(np.sum(shares[some] * np.log(shares[some] / widths[some])))
        below = self._between(np.array([self._edges[0], edges[0]]), self._share)
        above = self._between(np.array([edges[-1], self._edges[-1]]), self._share)
        cut = self._beyond(float(shares[0]), below) + self._beyond(float(shares[-1]), above)
        return inside + cut + math.log(kept)

    def _between(self, ends: npt.NDArray[np.floating], table: FloatArray) -> float:
        low, high = self._at(ends, table)
        return float(high - low)

    def _beyond(self, share: float, cut: float) -> float:
        """What an end cell adds for holding more in P than in Q."""
        kept = max(share, self._nothing)
        return (share + cut) * math.log((share + cut) / kept) if cut > 0 else 0.0

    def _at(self, places: npt.NDArray[np.floating], table: FloatArray) -> FloatArray:
        found: FloatArray = np.interp(places, self._edges, table)
        return found
