"""How many units of each group to keep, and which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt_passes.prune._groups import Group
from onnxopt_passes.prune._latency import Forecast

Array = npt.NDArray[Any]
Scores = Mapping[str, Array]
_LEAST_SHARE = 0.125
_AHEAD = 4  # multiples looked ahead: kernels that compute whole blocks gain nothing by less


def keep_best(
    groups: Sequence[Group], scores: Scores, counts: Mapping[str, int]
) -> dict[str, npt.NDArray[np.int64]]:
    """The most important units of each group, ascending; groups that stay whole are left out."""
    found = {}
    for group in groups:
        count = counts.get(group.name, group.units)
        if count < group.units:
            order = np.argsort(-scores[group.name], kind="stable")
            found[group.name] = np.sort(order[:count]).astype(np.int64)
    return found


def counts_per_group(groups: Sequence[Group], keep: float, multiple: int) -> dict[str, int]:
    """The same share of each group, rounded to a multiple."""
    return {group.name: rounded(keep * group.units, group.units, multiple) for group in groups}


def counts_overall(
    groups: Sequence[Group], scores: Scores, keep: float, multiple: int
) -> dict[str, int]:
    """A share of all units, whichever are the most important: one threshold for all scores."""
    everything = np.sort(np.concatenate([scores[group.name] for group in groups] or [np.zeros(0)]))
    if not everything.size:
        return {}
    place = min(round((1 - keep) * everything.size), everything.size - 1)
    threshold = everything[place]
    return {
        group.name: rounded(
            max(float((scores[group.name] >= threshold).sum()), _LEAST_SHARE * group.units),
            group.units,
            multiple,
        )
        for group in groups
    }


def counts_in_time(
    groups: Sequence[Group],
    losses: Scores,
    forecast: Forecast,
    share: float,
    multiple: int,
) -> dict[str, int]:
    """The counts that take a share of the time, by steps that gain most time for what is lost.

    Args:
        groups: The groups.
        losses: What is lost with each unit, on top of those before: additive over groups.
        forecast: Of the time.
        share: Of the time, which is to be left.
        multiple: What counts are rounded to.
    """
    removed = {group.name: 0 for group in groups}
    lost = {g.name: np.concatenate([[0.0], np.cumsum(np.sort(losses[g.name]))]) for g in groups}
    left = forecast.nanoseconds(removed)
    goal = share * left
    while left > goal:
        best: tuple[float, float, str, int] | None = None
        for group in groups:
            for count in _next_counts(group.units, removed[group.name], multiple):
                saved = forecast.saved(removed, group.name, count)
                cost = lost[group.name][count] - lost[group.name][removed[group.name]]
                if saved > 0 and (best is None or saved / (cost + 1e-12) > best[0]):
                    best = saved / (cost + 1e-12), saved, group.name, count
        if best is None:
            break
        _, saved, name, count = best
        removed[name] = count
        left -= saved
    return {group.name: group.units - removed[group.name] for group in groups}


def rounded(count: float, units: int, multiple: int) -> int:
    """The nearest multiple, at least one and at most all units."""
    if units <= multiple:
        return units
    near = max(round(count / multiple), 1) * multiple
    return min(near, units)


def _next_counts(units: int, removed: int, multiple: int) -> list[int]:
    """How many may be gone next: such that a multiple is left."""
    least = max(int(np.ceil(_LEAST_SHARE * units)), min(multiple, units))
    kept = units - removed
    first = (kept - 1) // multiple * multiple
    lefts = [first - step * multiple for step in range(_AHEAD)]
    return [units - left for left in lefts if left >= least]
