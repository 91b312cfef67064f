"""How much calibration writes down of each tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Detail:
    """What is wanted besides extrema, counts and means of the samples' extrema.

    Attributes:
        histogram: Counts of values: most of the time that calibration takes.
        channels: The axis of the channels, by tensor name: 1 for images, -1 for what a MatMul
            reads.
    """

    histogram: bool = True
    channels: Mapping[str, int] = field(default_factory=dict)

    def union(self, other: Detail) -> Detail:
        """What serves both; where the channels' axes differ, this one's."""
        return Detail(self.histogram or other.histogram, {**other.channels, **self.channels})


EVERYTHING = Detail()
EXTREMA = Detail(histogram=False)
"""Enough for the methods ``minmax`` and ``average``."""
