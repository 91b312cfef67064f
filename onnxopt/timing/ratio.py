"""How much faster one candidate is than another, from rounds in which both took a turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """Speed-up of a candidate over a reference: above 1, the candidate is faster.

    Attributes:
        reference: Name of the reference.
        candidate: Name of the candidate.
        speedup: Median over the rounds of reference time / candidate time.
        low: Lower end of its confidence interval.
        high: Upper end.
        confidence: The interval's coverage: at least 0.95, less where rounds are under six.
        rounds: Number of paired rounds.
    """

    reference: str
    candidate: str
    speedup: float
    low: float
    high: float
    confidence: float
    rounds: int

    @property
    def is_faster(self) -> bool:
        """Whether the whole interval lies above 1."""
        return self.low > 1

    @property
    def is_slower(self) -> bool:
        """Whether the whole interval lies below 1."""
        return self.high < 1

    @property
    def half_width(self) -> float:
        """Half the interval's width over the speed-up: 0.03 means about ±3 %."""
        return (self.high - self.low) / (2 * self.speedup)


@dataclass(frozen=True)
class Median:
    """A sample's median and the order statistics that bracket the true one."""

    value: float
    low: float
    high: float
    confidence: float

    @property
    def half_width(self) -> float:
        """Half the interval's width over the median."""
        return (self.high - self.low) / (2 * self.value)


def paired_speedup(reference_ms: Sequence[float], candidate_ms: Sequence[float]) -> Median:
    """Median of the per-round ratios ``reference / candidate`` with its interval.

    Pairing by round cancels whatever slows the machine for longer than a round; the median
    shrugs off rounds that something else disturbed.
    """
    return median_interval([r / c for r, c in zip(reference_ms, candidate_ms, strict=True)])


def median_interval(values: Sequence[float]) -> Median:
    """``[x(k), x(n+1-k)]`` with the largest k for which ``1 - 2 P(Bin(n, 1/2) < k) >= 0.95``.

    Exact for any continuous distribution (Thompson 1936), where a bootstrap of so few values
    covers 90 to 93 % instead of 95. Under six values: their range.
    """
    ordered, count = sorted(values), len(values)
    rank, outside = 1, 2 * 0.5**count
    while (wider := outside + 2 * math.comb(count, rank) * 0.5**count) <= 1 - CONFIDENCE:
        rank, outside = rank + 1, wider
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return Median(middle, ordered[rank - 1], ordered[count - rank], max(1 - outside, 0.0))
