"""The procedure on drawn times: whether its intervals are honest, and when it stops.

The drawn machine has what real ones showed: each load lands somewhere in memory and runs 1 to 5 %
faster or slower for it, the whole machine drifts, single runs jitter, and some turns are hit by
something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from onnxopt.errors import BackendMissingError
from onnxopt.runtime import SessionConfig
from onnxopt.timing import BenchmarkConfig
from onnxopt.timing.ratio import Median, paired_speedup
from onnxopt.timing.rounds import Entrant, looks, play
from onnxopt.timing.summary import check_threads, notes_of, spread_of


def nothing(what: str, done: int, total: int) -> None:
    pass


@dataclass
class Machine:
    """A drawn machine; ``noise`` 1 is a quiet one."""

    rng: np.random.Generator
    noise: float = 1.0
    drift: float = 1.0
    log: list[str] = field(default_factory=list)

    def turn(self, passes: int, true_ms: float) -> list[float]:
        self.drift *= float(np.exp(self.rng.normal(0, 0.01 * self.noise)))
        placed = 1 + self.rng.normal(0, 0.01 * self.noise)
        hit = 1 + (self.rng.random() < 0.1 * self.noise) * self.rng.exponential(0.5)
        jitter = 1 + np.abs(self.rng.standard_t(2, passes)) * 0.01 * self.noise
        times = true_ms * self.drift * placed * hit * jitter
        return [float(ms) for ms in times]


@dataclass
class Stub:
    """Stands for a candidate's process."""

    name: str
    machine: Machine
    true_ms: float

    def ask(self, task: str, timeout_s: float, passes: int, reload: bool) -> dict[str, object]:
        self.machine.log.append(self.name)
        return {"samples_ms": self.machine.turn(passes, self.true_ms)}


def entrants(machine: Machine, true_ms: dict[str, float], passes: int = 8) -> list[Entrant]:
    found = []
    for name, ms in true_ms.items():
        stub = Stub(name, machine, ms)
        entrant = Entrant(name, Path(), "", SessionConfig(), stub)  # type: ignore[arg-type]
        entrant.passes = passes
        found.append(entrant)
    return found


def drawn(config: BenchmarkConfig, noise: float, runs: int, b: float = 5.0) -> Iterator[Median]:
    """The ratio's interval in many benchmarks of a 5 ms model against one of ``b`` ms."""
    for seed in range(runs):
        machine = Machine(np.random.default_rng(seed), noise)
        first, second = entrants(machine, {"a": 5.0, "b": b})
        play([first, second], config, nothing)
        yield paired_speedup(first.rounds_ms, second.rounds_ms)


def coverage(found: list[Median], truth: float) -> float:
    return float(np.mean([one.low <= truth <= one.high for one in found]))


def test_a_file_against_its_own_copy_on_a_quiet_machine() -> None:
    found = list(drawn(BenchmarkConfig(), noise=1.0, runs=400))
    # 0.961 is exact for 12 rounds; 400 draws have a standard error of 0.010
    assert coverage(found, 1.0) > 0.93
    assert np.median([one.half_width for one in found]) < 0.03


def test_a_real_difference_is_found_on_a_noisy_machine() -> None:
    found = list(drawn(BenchmarkConfig(), noise=2.0, runs=200, b=4.0))
    assert coverage(found, 1.25) > 0.92
    assert np.mean([one.low > 1 for one in found]) > 0.8
    assert not any(one.high < 1 for one in found)


def test_going_on_until_the_interval_is_narrow_keeps_it_honest() -> None:
    config = BenchmarkConfig(within=0.03)
    found = list(drawn(config, noise=2.5, runs=400))
    assert coverage(found, 1.0) > 0.93
    assert all(one.half_width <= 0.03 for one in found)


def test_looks_are_far_apart_and_end_at_the_cap() -> None:
    assert list(looks(BenchmarkConfig(rounds=5))) == [5]
    assert list(looks(BenchmarkConfig(within=0.03, most_rounds=50))) == [12, 18, 27, 40, 50]
    assert list(looks(BenchmarkConfig(within=0.03, rounds=2, most_rounds=3))) == [6]
    assert list(looks(BenchmarkConfig(within=0.03, rounds=30, most_rounds=20))) == [30]


def test_it_says_whether_the_width_was_reached() -> None:
    def reached(config: BenchmarkConfig, noise: float, names: str = "ab") -> tuple[object, int]:
        machine = Machine(np.random.default_rng(0), noise)
        field_ = entrants(machine, dict.fromkeys(names, 1.0))
        return play(field_, config, nothing), len(field_[0].turns)

    assert reached(BenchmarkConfig(rounds=7), 1) == (None, 7)
    assert reached(BenchmarkConfig(within=0.5), 1) == (True, 12)
    assert reached(BenchmarkConfig(within=0.5), 1, "a") == (True, 12)
    assert reached(BenchmarkConfig(within=0.0001, most_rounds=20), 1) == (False, 20)
    # of three, the widest decides
    assert reached(BenchmarkConfig(within=0.0001, most_rounds=20), 1, "abc") == (False, 20)


def test_a_process_is_renewed_every_few_turns_and_then_loads_nothing_again() -> None:
    asked: list[object] = []

    class Process:
        def ask(self, task: str, timeout_s: float, passes: int, reload: bool) -> dict[str, object]:
            asked.append(reload)
            return {"samples_ms": [1.0]}

    def turns(config: BenchmarkConfig) -> list[object]:
        asked.clear()
        entrant = Entrant("a", Path(), "", SessionConfig(), Process())  # type: ignore[arg-type]
        entrant.renew = lambda: asked.append("renewed")
        play([entrant], config, nothing)
        return list(asked)

    assert turns(BenchmarkConfig(rounds=4)) == [True, True, "renewed", False, True]
    assert turns(BenchmarkConfig(rounds=3, renew=1)) == [True, "renewed", False, "renewed", False]
    assert turns(BenchmarkConfig(rounds=3, renew=0, reload=False)) == [False, False, False]


def test_the_order_of_turns_is_balanced_and_drawn_from_the_seed() -> None:
    def order(seed: int) -> list[str]:
        machine = Machine(np.random.default_rng(0))
        config = BenchmarkConfig(rounds=6, seed=seed)
        play(entrants(machine, dict.fromkeys("abcd", 1.0)), config, nothing)
        return machine.log

    log = order(0)
    rounds = [log[start : start + 4] for start in range(0, 24, 4)]
    assert all(sorted(one) == list("abcd") for one in rounds)
    assert all(rounds[n] == rounds[n + 1][::-1] for n in (0, 2, 4))
    assert order(0) == log != order(1)


def test_a_round_is_the_median_pass_of_its_mean_runs() -> None:
    (entrant,) = entrants(Machine(np.random.default_rng(0)), {"a": 1.0})
    entrant.samples = 2
    entrant.turns = [{"samples_ms": [1, 3, 2, 4, 9, 91]}, {"samples_ms": [1, 1]}]
    assert entrant.rounds_ms == (3, 1)


def test_threads_that_are_not_held_are_an_error() -> None:
    (entrant,) = entrants(Machine(np.random.default_rng(0)), {"m": 1.0})
    entrant.loaded = {"info": {"threads": 1, "device": "cpu"}}
    check_threads(entrant, 1.1)
    with pytest.raises(BackendMissingError, match=r"kept 2.0 cores busy; wanted 1"):
        check_threads(entrant, 1.99)


def test_a_machine_that_disturbs_is_noted() -> None:
    info = {"device": "cpu", "notes": ["n"]}
    assert notes_of(info, 0.99, 0.01) == ("n",)
    assert "busy: timed runs got 0.52 of one core" in notes_of(info, 0.52, 0.01)[1]
    assert "noisy: the middle half of the rounds spreads over 8.1%" in notes_of(info, 1, 0.081)[1]
    assert notes_of({"device": "gpu", "notes": []}, 0.1, 0.01) == ()
    assert spread_of([1, 2, 3, 4, 5]) == pytest.approx(2 / 3)
