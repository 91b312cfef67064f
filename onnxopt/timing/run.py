"""Times candidates against one another, each in its own process, one computing at a time."""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from onnxopt.errors import BackendMissingError, UsageError
from onnxopt.progress import Progress, no_progress
from onnxopt.runtime import SessionConfig, environment
from onnxopt.timing.child import Child
from onnxopt.timing.config import BenchmarkConfig, Candidate, Model
from onnxopt.timing.feeds import Feeds, save_feeds
from onnxopt.timing.files import model_size_bytes, on_disk
from onnxopt.timing.measurement import BenchmarkResult, Latency, Measurement, ratio_of

_WORKER = "onnxopt.timing.worker"
IN_MEMORY = "(in memory)"
_CORES_SLACK = 0.3
_BUSY = 0.9
_MOST_RUNS = 1000


@dataclass
class _Entrant:
    """A candidate under way."""

    name: str
    path: Path
    shown: str
    session: SessionConfig
    child: Child
    loaded: dict[str, Any] = field(default_factory=dict)
    warmed: dict[str, Any] = field(default_factory=dict)
    passes: int = 1
    turns: list[dict[str, Any]] = field(default_factory=list)


def benchmark(
    candidates: Sequence[Candidate | Model],
    samples: Sequence[Feeds],
    config: BenchmarkConfig = BenchmarkConfig(),  # noqa: B008
    progress: Progress = no_progress,
) -> BenchmarkResult:
    """Time models side by side.

    Every candidate has a process of its own. In each round every candidate has one turn, in an
    order drawn from the seed and reversed in the next round; between its turns a process waits
    for its parent and its threads do not spin, so nobody computes beside anybody else.

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
    named = _named(candidates)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onnxopt-bench-")))
        feeds = folder / "feeds.npz"
        save_feeds(feeds, samples)
        entrants = []
        for number, candidate in enumerate(named):
            path = on_disk(candidate.model, folder / str(number))
            child = stack.enter_context(Child(_WORKER, candidate.name))
            session = candidate.session or config.session
            shown = str(candidate.model) if _is_file(candidate.model) else IN_MEMORY
            entrants.append(_Entrant(candidate.name, path, shown, session, child))
        for entrant in entrants:
            _prepare(entrant, feeds, len(samples), config)
        _rounds(entrants, config, progress)
        return _result(entrants, len(samples), config)


def _named(candidates: Sequence[Candidate | Model]) -> list[Candidate]:
    if not candidates:
        raise UsageError("no model to time", "at least one")
    named = [_with_name(candidate, n) for n, candidate in enumerate(candidates)]
    names = [candidate.name for candidate in named]
    if len(set(names)) == len(names):
        return named
    if any(isinstance(c, Candidate) and c.name for c in candidates):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two candidates are called {twice!r}", "a name of its own for each")
    return [Candidate(c.model, f"{c.name}#{n + 1}", c.session) for n, c in enumerate(named)]


def _with_name(candidate: Candidate | Model, number: int) -> Candidate:
    if not isinstance(candidate, Candidate):
        candidate = Candidate(candidate)
    if candidate.name:
        return candidate
    model = candidate.model
    name = Path(model).name if _is_file(model) else f"model {number + 1}"
    return Candidate(model, name, candidate.session)


def _is_file(model: Model) -> TypeGuard[Path | str]:
    return isinstance(model, Path | str)


def _prepare(entrant: _Entrant, feeds: Path, samples: int, config: BenchmarkConfig) -> None:
    wait = config.timeout_seconds
    session = {key: _plain(value) for key, value in asdict(entrant.session).items()}
    entrant.loaded = entrant.child.ask(
        "load", wait, model=str(entrant.path), feeds=str(feeds), session=session
    )
    entrant.warmed = entrant.child.ask(
        "warm", wait, least_runs=config.warmup_runs, most_seconds=config.warmup_seconds
    )
    by_time = config.turn_seconds * 1e3 / max(entrant.warmed["pass_ms"], 1e-3)
    by_time = min(by_time, _MOST_RUNS / samples)
    entrant.passes = max(math.ceil(by_time), math.ceil(config.turn_runs / samples))


def _rounds(entrants: Sequence[_Entrant], config: BenchmarkConfig, progress: Progress) -> None:
    order = list(entrants)
    shuffle = random.Random(config.seed).shuffle
    for number in range(config.rounds):
        if number % 2:
            order.reverse()
        else:
            shuffle(order)
        for entrant in order:
            turn = entrant.child.ask(
                "turn", config.timeout_seconds, passes=entrant.passes, reload=config.reload
            )
            entrant.turns.append(turn)
        progress("timing", number + 1, config.rounds)


def _result(entrants: Sequence[_Entrant], samples: int, config: BenchmarkConfig) -> BenchmarkResult:
    machine = environment()
    measured = tuple(_measurement(entrant, samples, config, machine.digest) for entrant in entrants)
    ratios = tuple(ratio_of(measured[0], other) for other in measured[1:])
    return BenchmarkResult(measured, ratios, machine, config.seed)


def _measurement(
    entrant: _Entrant, samples: int, config: BenchmarkConfig, digest: str
) -> Measurement:
    info, turns = entrant.loaded["info"], entrant.turns
    rounds = tuple(tuple(turn["samples_ms"]) for turn in turns)
    cores_used = _share(turns, "cpu_s", "wall_s")
    _check_threads(entrant, cores_used)
    return Measurement(
        name=entrant.name,
        model=entrant.shown,
        size_bytes=model_size_bytes(entrant.path),
        provider_asked=entrant.session.provider,
        provider=info["provider"],
        device=info["device"],
        placement=info["placement"],
        threads=info["threads"],
        precision=info["precision"],
        optimization=info["optimization"],
        notes=_notes(info, cores_used),
        warmup_runs=entrant.warmed["runs"],
        steady=entrant.warmed["steady"],
        latency=Latency.of([ms for times in rounds for ms in times]),
        rounds_ms=tuple(_pass_ms(times, samples) for times in rounds),
        samples_ms=rounds,
        load_ms=info["load_ms"],
        first_ms=entrant.loaded["first_ms"],
        loads_ms=tuple(turn["load_ms"] for turn in turns) if config.reload else (),
        peak_rss_bytes=entrant.warmed["peak_rss_bytes"],
        base_rss_bytes=entrant.loaded["base_rss_bytes"],
        cores_used=cores_used,
        idle_cores=_share(turns, "idle_cpu_s", "idle_wall_s"),
        environment=digest,
    )


def _check_threads(entrant: _Entrant, cores_used: float) -> None:
    """On a CPU, processor time betrays a provider that takes more threads than it was given."""
    asked = entrant.loaded["info"]["threads"]
    if entrant.loaded["info"]["device"] == "cpu" and cores_used > asked + _CORES_SLACK:
        raise BackendMissingError(
            f"{entrant.name}: provider {entrant.session.provider} kept {cores_used:.1f} cores busy",
            f"{asked}",
            "use a provider that holds the number of threads",
        )


def _notes(info: dict[str, Any], cores_used: float) -> tuple[str, ...]:
    """The session's own notes, and whether something else took the processor."""
    notes = tuple(info["notes"])
    if info["device"] == "cpu" and cores_used < _BUSY:
        return (*notes, f"the machine was busy: timed runs got {cores_used:.2f} of one core")
    return notes


def _pass_ms(times: Sequence[float], samples: int) -> float:
    """Median over the passes of a turn of the mean run of a pass."""
    passes = [times[start : start + samples] for start in range(0, len(times), samples)]
    return statistics.median(statistics.fmean(one) for one in passes)


def _share(turns: Sequence[dict[str, Any]], cpu: str, wall: str) -> float:
    total = sum(turn[wall] for turn in turns)
    return float(sum(turn[cpu] for turn in turns) / total) if total else 0.0


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
