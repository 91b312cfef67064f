"""How many units of each group to keep, and which."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt_passes.prune._coupling import Group
from onnxopt_passes.prune._latency import Forecast

Array = npt.NDArray[Any]
Scores = Mapping[str, Array]
"""A score a unit, float64 [units], by the group's name."""

_LEAST_SHARE = 0.125
_FAR_BELOW = 0.8
_AHEAD = 4  # steps looked ahead: kernels that compute whole blocks gain nothing by less
_LEAST_LOSS = 1e-9


@dataclass(frozen=True)
class Grain:
    """Which numbers of channels may be left.

    Attributes:
        multiple: They are multiples of it, where a group has as many.
        least: Channels that stay in any case.
    """

    multiple: int = 8
    least: int = 8

    def step(self, group: Group) -> int:
        """The units whose channels, in the tensor the group has its name from, are a multiple."""
        return self.multiple // math.gcd(self.multiple, channels_of(group))

    def fewest(self, group: Group) -> int:
        """The fewest units that may be left."""
        return min(max(self.step(group), -(-self.least // channels_of(group))), group.units)

    def nearest(self, group: Group, count: float) -> int:
        """The number of units to leave in place of a count: rounded, up where that is far below."""
        step = self.step(group)
        near = round(count / step) * step
        near += step if near < _FAR_BELOW * count else 0
        return min(max(near, self.fewest(group)), group.units)

    def below(self, group: Group, count: int) -> Iterator[int]:
        """The next numbers of units below one."""
        step = self.step(group)
        least = max(self.fewest(group), math.ceil(_LEAST_SHARE * group.units))
        first = (count - 1) // step * step
        yield from (left for left in range(first, 0, -step)[:_AHEAD] if left >= least)


def channels_of(group: Group) -> int:
    """Channels of a unit in the tensor it is made in."""
    made = [out.name for m in group.members if m.role == "makes" for out in m.node.outputs]
    named = (group.tensors.get(name or "") for name in (group.name, *made))
    known = next((one for one in named if one is not None), None)
    return 1 if known is None else known[1].shape[1]


def best_units(
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


def counts_per_group(groups: Sequence[Group], keep: float, grain: Grain) -> dict[str, int]:
    """The same share of each group."""
    return {group.name: grain.nearest(group, keep * group.units) for group in groups}


def counts_overall(
    groups: Sequence[Group], scores: Scores, keep: float, grain: Grain
) -> dict[str, int]:
    """A share of all units, whichever are the most important: one threshold for all scores."""
    if not groups:
        return {}
    everything = np.sort(np.concatenate([scores[group.name] for group in groups]))
    threshold = everything[min(round((1 - keep) * everything.size), everything.size - 1)]
    found = {}
    for group in groups:
        above = float((scores[group.name] >= threshold).sum())
        found[group.name] = grain.nearest(group, max(above, _LEAST_SHARE * group.units))
    return found


def counts_in_time(
    groups: Sequence[Group], losses: Scores, forecast: Forecast, share: float, grain: Grain
) -> dict[str, int]:
    """Counts that take a share of the time, by steps that each gain most for what is lost.

    Args:
        groups: The groups.
        losses: What is lost with each unit on top of less important ones; adds up over groups.
        forecast: Of the time.
        share: Of the time, which is to be left; more is where the groups allow no less.
        grain: Which counts there may be.
    """
    left = {group.name: group.units for group in groups}
    lost = {g.name: np.concatenate([[0.0], np.cumsum(np.sort(losses[g.name]))]) for g in groups}
    removed = dict.fromkeys(left, 0)
    time = forecast.nanoseconds(removed)
    goal = share * time
    while time > goal:
        best: tuple[float, float, Group, int] | None = None
        for group in groups:
            now = removed[group.name]
            for count in grain.below(group, left[group.name]):
                gone = group.units - count
                saved = forecast.saved(removed, group.name, gone)
                loss = float(lost[group.name][gone] - lost[group.name][now])
                rate = saved / (loss + _LEAST_LOSS)
                if saved > 0 and (best is None or rate > best[0]):
                    best = rate, saved, group, count
        if best is None:
            break
        _, saved, group, count = best
        left[group.name], removed[group.name] = count, group.units - count
        time -= saved
    return left
