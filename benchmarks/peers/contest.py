"""Times contestants of several environments against one another, under one clock.

The rounds, turns and intervals are those of ``onnxopt.timing``; only the processes may stand in
environments other than this one.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from onnxopt.data import Feeds
from onnxopt.errors import OnnxoptError
from onnxopt.runtime import SessionConfig
from onnxopt.timing import BenchmarkConfig, Latency
from onnxopt.timing.candidates import jsonable
from onnxopt.timing.feeds import save_feeds
from onnxopt.timing.ratio import median_interval, paired_speedup
from onnxopt.timing.rounds import Entrant, play
from onnxopt.timing.summary import check_threads, notes_of, spread_of
from peers.environments import OWN, python_of
from peers.failure import PeerFailure
from peers.process import Place, Worker

Runtime = Literal["onnxruntime", "openvino-provider", "openvino"]
_JOBS: Mapping[Runtime, tuple[str, str]] = {
    "onnxruntime": (OWN, "run_onnxruntime"),
    "openvino-provider": ("openvino-provider", "run_onnxruntime"),
    "openvino": ("openvino", "run_openvino"),
}
_MOST_RUNS = 1000
_MODEL_SUFFIXES = (".bin", ".data")


@dataclass(frozen=True)
class Contestant:
    """One file, run in one way.

    Attributes:
        name: How tables call it.
        path: The file.
        session: Provider, threads, precision.
        runtime: In which environment and by what.
    """

    name: str
    path: Path
    session: SessionConfig = field(default_factory=SessionConfig)
    runtime: Runtime = "onnxruntime"

    @property
    def size_bytes(self) -> int:
        """Of the file and of the weights beside it."""
        beside = [self.path.with_suffix(suffix) for suffix in _MODEL_SUFFIXES]
        beside += [Path(f"{self.path}{suffix}") for suffix in _MODEL_SUFFIXES]
        return sum(p.stat().st_size for p in (self.path, *beside) if p.is_file())

    def start(self, cache: Path) -> Worker:
        """A process that can run it.

        Raises:
            PeerFailure: There is no such environment here.
        """
        peer, job = _JOBS[self.runtime]
        return Worker(Place(python_of(peer, cache), ours=True), job)


@dataclass(frozen=True)
class Timed:
    """One contestant's times.

    Attributes:
        latency: Of all runs, in milliseconds.
        typical_ms: Median over the rounds.
        speedup: Over the first contestant: median of the rounds' ratios.
        low: Lower end of its 95 % interval.
        high: Upper end.
        rounds_ms: One time a round, the pairs behind the ratio.
        runs: How many single runs were timed.
        load_ms: Time to load the model in the fresh process.
        peak_rss_bytes: Most memory of the process, warm.
        notes: What disturbed the measurement, or could not be checked.
    """

    latency: Latency
    typical_ms: float
    speedup: float
    low: float
    high: float
    rounds_ms: tuple[float, ...]
    runs: int
    load_ms: float
    peak_rss_bytes: int
    notes: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """Plain values, times to five digits."""
        return asdict(self) | {"rounds_ms": [float(f"{ms:.5g}") for ms in self.rounds_ms]}


Times = dict[str, Timed | PeerFailure]


@dataclass
class _Seat:
    """A contestant's worker as ``play`` asks it; remembers that it failed."""

    contestant: Contestant
    cache: Path
    failure: PeerFailure | None = None

    def __post_init__(self) -> None:
        self.worker = self.contestant.start(self.cache)

    def renew(self, loading: Mapping[str, Any], timeout_s: float) -> None:
        """End the worker and load the model in a new one."""
        self.close()
        self.worker = self.contestant.start(self.cache)
        self.ask("load", timeout_s, **loading)

    def close(self) -> None:
        self.worker.close()

    def ask(self, task: str, timeout_s: float, /, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self.worker.ask(task, timeout_s, **arguments)
        except PeerFailure as failure:
            self.failure = failure
            raise
        return answer


def time_together(
    contestants: Sequence[Contestant],
    feeds: Sequence[Feeds],
    config: BenchmarkConfig,
    cache: Path,
) -> Times:
    """Time them in interleaved rounds; one that fails is left out and says why.

    Raises:
        PeerFailure: The first contestant, the reference, fails.
    """
    failures: Times = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = Path(folder) / "feeds.npz"
        save_feeds(path, feeds)
        entrants = []
        for contestant in contestants:
            try:
                entrant = _seated(contestant, len(feeds), cache, stack)
                _prepare(entrant, path, config)
                entrants.append(entrant)
            except PeerFailure as failure:
                failures[contestant.name] = failure
                if contestant is contestants[0]:
                    raise
        failures |= _played(entrants, config)
    return failures | _summed_up([e for e in entrants if e.name not in failures])


def _seated(
    contestant: Contestant, samples: int, cache: Path, stack: contextlib.ExitStack
) -> Entrant:
    seat: Any = _Seat(contestant, cache)  # of a child, the rounds only ask
    stack.callback(seat.close)
    shown, session = contestant.path.name, contestant.session
    return Entrant(contestant.name, contestant.path, shown, session, seat, samples=samples)


def _prepare(entrant: Entrant, feeds: Path, config: BenchmarkConfig) -> None:
    """As ``onnxopt.timing.run`` does it."""
    wait, session = config.timeout_seconds, jsonable(entrant.session)
    loading = {"model": str(entrant.path), "feeds": str(feeds), "session": session}
    seat: Any = entrant.child
    entrant.renew = partial(seat.renew, loading, wait)
    try:
        entrant.loaded = entrant.child.ask("load", wait, **loading)
    except PeerFailure as failure:
        kind = "does not run" if failure.kind == "exception" else failure.kind
        raise PeerFailure(kind, failure.text) from failure
    entrant.warmed = entrant.child.ask(
        "warm", wait, least_runs=config.warmup_runs, most_seconds=config.warmup_seconds
    )
    by_time = config.turn_seconds * 1e3 / max(entrant.warmed["pass_ms"], 1e-3)
    by_time = min(by_time, _MOST_RUNS / entrant.samples)
    entrant.passes = max(math.ceil(by_time), math.ceil(config.turn_runs / entrant.samples))


def _played(entrants: Sequence[Entrant], config: BenchmarkConfig) -> Times:
    """Play all rounds; where somebody fails, once more without them."""
    failures: Times = {}
    while True:
        left = [entrant for entrant in entrants if entrant.name not in failures]
        for entrant in left:
            entrant.turns.clear()
        try:
            play(left, config, lambda *_: None)
        except PeerFailure:
            if left[0].child.failure is not None:  # type: ignore[attr-defined]
                raise
            failures |= {
                entrant.name: entrant.child.failure  # type: ignore[attr-defined]
                for entrant in left
                if entrant.child.failure is not None  # type: ignore[attr-defined]
            }
            continue
        return failures


def _summed_up(entrants: Sequence[Entrant]) -> Times:
    found: Times = {}
    for entrant in entrants:
        try:
            found[entrant.name] = _timed(entrants[0], entrant)
        except OnnxoptError as error:
            found[entrant.name] = PeerFailure("not comparable", str(error))
    return found


def _timed(first: Entrant, entrant: Entrant) -> Timed:
    turns, info = entrant.turns, entrant.loaded["info"]
    wall = sum(turn["wall_s"] for turn in turns)
    cores = sum(turn["cpu_s"] for turn in turns) / wall if wall else 0.0
    check_threads(entrant, cores)
    ratio = paired_speedup(first.rounds_ms, entrant.rounds_ms)
    samples = [ms for turn in turns for ms in turn["samples_ms"]]
    return Timed(
        latency=Latency.of(samples),
        typical_ms=median_interval(entrant.rounds_ms).value,
        speedup=ratio.value,
        low=ratio.low,
        high=ratio.high,
        rounds_ms=entrant.rounds_ms,
        runs=len(samples),
        load_ms=info["load_ms"],
        peak_rss_bytes=entrant.warmed["peak_rss_bytes"],
        notes=notes_of(info, cores, spread_of(entrant.rounds_ms)),
    )
