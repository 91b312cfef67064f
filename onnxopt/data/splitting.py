"""Splits data by source item into calibration, search and test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from onnxopt.data.dataset import Dataset
from onnxopt.errors import UsageError

THIRDS = (1 / 3, 1 / 3, 1 / 3)
_PARTS = 3


@dataclass(frozen=True, eq=False)
class Split:
    """Three parts of one data set.

    Attributes:
        calibration: For statistics and training.
        search: For choices between variants.
        test: For the final verdict only.
        notes: Why the parts are not what one would expect, where they are not.
    """

    calibration: Dataset
    search: Dataset
    test: Dataset
    notes: tuple[str, ...] = ()


def split(dataset: Dataset, seed: int = 0, fractions: tuple[float, float, float] = THIRDS) -> Split:
    """Split by source item: samples of one item stay together, in their original order.

    Items are ranked by a hash of seed and id, so that the split depends on neither order nor
    process, and each part gets its fraction of the items (at least one where there are three).
    With fewer items every part is the whole data set, and a note says so.

    Raises:
        UsageError: The fractions are negative or sum to nothing.
    """
    if len(fractions) != _PARTS or min(fractions) < 0 or sum(fractions) <= 0:
        raise UsageError(f"fractions {fractions}", "three numbers from 0 that sum to more than 0")
    ranked = sorted(set(dataset.items), key=lambda item: _rank(seed, item))
    if len(ranked) < _PARTS:
        note = f"{len(ranked)} item(s) cannot be split: calibration, search and test share them"
        return Split(dataset, dataset, dataset, (note,))
    first, second = _boundaries(len(ranked), fractions)
    part = {item: (at >= first) + (at >= second) for at, item in enumerate(ranked)}
    chosen: list[list[int]] = [[], [], []]
    for index, item in enumerate(dataset.items):
        chosen[part[item]].append(index)
    calibration, search, test = (dataset.take(indices) for indices in chosen)
    return Split(calibration, search, test)


def calibration_only(dataset: Dataset) -> Split:
    """Data given only for calibration stays whole; search and test are empty."""
    return Split(dataset, dataset.take([]), dataset.take([]))


def _rank(seed: int, item: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{item}".encode()).digest()


def _boundaries(items: int, fractions: tuple[float, float, float]) -> tuple[int, int]:
    """Where the second and third part begin; a part whose fraction is above 0 is not empty."""
    total = sum(fractions)
    least = [int(fraction > 0) for fraction in fractions]
    first = round(items * fractions[0] / total)
    first = min(max(first, least[0]), items - least[1] - least[2])
    second = round(items * (fractions[0] + fractions[1]) / total)
    second = min(max(second, first + least[1]), items - least[2])
    return (first if least[0] else 0), (second if least[1] else first)
