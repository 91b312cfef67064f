"""The rounds of a benchmark: who has a turn when, and when there have been enough."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxopt.progress import Progress
from onnxopt.runtime import SessionConfig
from onnxopt.timing.child import Child
from onnxopt.timing.config import BenchmarkConfig
from onnxopt.timing.ratio import Median, median_interval, paired_speedup

_GROWTH = 1.5
_LEAST_FOR_95 = 6


@dataclass
class Entrant:
    """A candidate under way.

    Attributes:
        name: The candidate's name.
        path: Its file.
        shown: How results call that file.
        session: How it is run.
        child: Its process.
        renew: Ends that process and loads the model in a new one; None where it cannot.
        samples: Runs in a pass.
        loaded: What the process said when it had loaded the model.
        warmed: What it said when the run time was steady.
        passes: Timed passes in a turn.
        turns: What it said after each turn.
    """

    name: str
    path: Path
    shown: str
    session: SessionConfig
    child: Child
    renew: Callable[[], None] | None = None
    samples: int = 1
    loaded: dict[str, Any] = field(default_factory=dict)
    warmed: dict[str, Any] = field(default_factory=dict)
    passes: int = 1
    turns: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rounds_ms(self) -> tuple[float, ...]:
        """One time a round: the median over its passes of the mean run of a pass."""
        return tuple(_pass_ms(turn["samples_ms"], self.samples) for turn in self.turns)


def play(entrants: Sequence[Entrant], config: BenchmarkConfig, progress: Progress) -> bool | None:
    """Give every entrant a turn in every round, until there are rounds enough.

    Returns:
        Whether every interval is as narrow as asked; None where nothing was asked.
    """
    orders = _orders(entrants, config.seed)
    done = 0
    for look in looks(config):
        for order in itertools.islice(orders, look - done):
            for entrant in order:
                entrant.turns.append(_turn(entrant, config))
            done += 1
            progress("timing", done, look)
        if config.within is not None and _widest(entrants) <= config.within:
            return True
    return None if config.within is None else False


def _turn(entrant: Entrant, config: BenchmarkConfig) -> dict[str, Any]:
    """One turn, in a new process where the old one has had its share."""
    played = len(entrant.turns)
    due = config.renew and played and played % config.renew == 0
    renew = entrant.renew if due else None
    if renew is not None:
        renew()
    reload = config.reload and renew is None
    return entrant.child.ask("turn", config.timeout_seconds, passes=entrant.passes, reload=reload)


def looks(config: BenchmarkConfig) -> Iterator[int]:
    """After how many rounds the intervals are looked at.

    Stopping at the first narrow interval favours intervals that are narrow by chance: looked at
    after every round they hold the truth in 92.7 % of cases instead of 95; with half as many
    rounds again from look to look, in 94 to 96 %.
    """
    if config.within is None:
        yield config.rounds
        return
    count = max(config.rounds, _LEAST_FOR_95)
    last = max(config.most_rounds, count)
    while count < last:
        yield count
        count = int(count * _GROWTH)
    yield last


def _orders(entrants: Sequence[Entrant], seed: int) -> Iterator[list[Entrant]]:
    """Orders drawn from the seed, each followed by its reverse."""
    order = list(entrants)
    shuffle = random.Random(seed).shuffle
    while True:
        shuffle(order)
        yield list(order)
        order.reverse()
        yield list(order)


def _widest(entrants: Sequence[Entrant]) -> float:
    """Of the ratios' intervals; of the time's, where there is one entrant only."""
    first, *others = entrants
    if not others:
        return median_interval(first.rounds_ms).half_width
    found: list[Median] = [paired_speedup(first.rounds_ms, other.rounds_ms) for other in others]
    return max(median.half_width for median in found)


def _pass_ms(times: Sequence[float], samples: int) -> float:
    passes = [times[start : start + samples] for start in range(0, len(times), samples)]
    return statistics.median(statistics.fmean(one) for one in passes)
