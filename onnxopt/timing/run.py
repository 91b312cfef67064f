"""Times candidates against one another, each in its own process, one computing at a time."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from onnxopt.progress import Progress, no_progress
from onnxopt.runtime import environment
from onnxopt.timing.candidates import WORKER, jsonable, named, shown
from onnxopt.timing.child import Child
from onnxopt.timing.config import BenchmarkConfig, Candidate, Model
from onnxopt.timing.feeds import Feeds, save_feeds
from onnxopt.timing.files import on_disk
from onnxopt.timing.measurement import BenchmarkResult, ratio_of
from onnxopt.timing.rounds import Entrant, play
from onnxopt.timing.summary import measurement_of

_MOST_RUNS = 1000


def benchmark(
    candidates: Sequence[Candidate | Model],
    samples: Sequence[Feeds],
    config: BenchmarkConfig = BenchmarkConfig(),  # noqa: B008
    progress: Progress = no_progress,
) -> BenchmarkResult:
    """Time models side by side.

    Every candidate has a process of its own, a new one after every few turns. In each round every
    candidate has one turn, in an order drawn from the seed and reversed in the next round; between
    its turns a process waits for its parent and its threads do not spin, so nobody computes beside
    anybody else.

    Args:
        candidates: What to time; the first is the reference of the ratios.
        samples: Inputs; each pass runs all of them once, the same for every candidate.
        config: How long to measure, and how to run candidates that do not say it themselves.
        progress: Told about every finished round.

    Returns:
        Raw times, summaries and speed-ups over the first candidate.

    Raises:
        UsageError: there is no candidate, or two have one name.
        DataError: the samples do not fit a model.
        ModelError: a model does not load, fails or crashes its process.
        BackendMissingError: a provider, precision or thread count is not in force.
        LimitError: a timeout, or the system killed the process (no memory left).
    """
    entries = named(candidates)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onnxopt-bench-")))
        feeds = folder / "feeds.npz"
        save_feeds(feeds, samples)
        entrants = []
        for number, candidate in enumerate(entries):
            model = candidate.model
            path = on_disk(model, folder / str(number))
            session = candidate.session or config.session
            entrant = Entrant(
                *(candidate.name, path, shown(model), session),
                child=Child(WORKER, candidate.name),
                samples=len(samples),
            )
            stack.push(partial(_leave, entrant))
            entrant.renew = partial(_renew, entrant, feeds, config)
            entrants.append(entrant)
        for entrant in entrants:
            _prepare(entrant, feeds, config)
        reached = play(entrants, config, progress)
        return _result(entrants, config, reached)


def _prepare(entrant: Entrant, feeds: Path, config: BenchmarkConfig) -> None:
    entrant.loaded = _load(entrant, feeds, config)
    wait = config.timeout_seconds
    entrant.warmed = entrant.child.ask(
        "warm", wait, least_runs=config.warmup_runs, most_seconds=config.warmup_seconds
    )
    by_time = config.turn_seconds * 1e3 / max(entrant.warmed["pass_ms"], 1e-3)
    by_time = min(by_time, _MOST_RUNS / entrant.samples)
    entrant.passes = max(math.ceil(by_time), math.ceil(config.turn_runs / entrant.samples))


def _load(entrant: Entrant, feeds: Path, config: BenchmarkConfig) -> dict[str, Any]:
    session = jsonable(entrant.session)
    return entrant.child.ask(
        *("load", config.timeout_seconds),
        model=str(entrant.path),
        feeds=str(feeds),
        session=session,
    )


def _renew(entrant: Entrant, feeds: Path, config: BenchmarkConfig) -> None:
    entrant.child.close()
    entrant.child = Child(WORKER, entrant.name)
    _load(entrant, feeds, config)


def _leave(entrant: Entrant, *raised: Any) -> None:
    entrant.child.__exit__(*raised)


def _result(
    entrants: Sequence[Entrant], config: BenchmarkConfig, reached: bool | None
) -> BenchmarkResult:
    machine = environment()
    measured = tuple(measurement_of(entrant, config, machine.digest) for entrant in entrants)
    return BenchmarkResult(
        measurements=measured,
        ratios=tuple(ratio_of(measured[0], other) for other in measured[1:]),
        environment=machine,
        seed=config.seed,
        within=config.within,
        reached=reached,
    )
