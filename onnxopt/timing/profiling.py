"""Profiles a model with ONNX Runtime's own profiler, in a process of its own."""

from __future__ import annotations

import contextlib
import math
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onnxopt.errors import UsageError
from onnxopt.progress import Progress, no_progress
from onnxopt.runtime import SessionConfig, environment
from onnxopt.timing.candidates import WORKER, jsonable, named, shown
from onnxopt.timing.child import Child
from onnxopt.timing.config import Candidate, Model
from onnxopt.timing.feeds import Feeds, save_feeds
from onnxopt.timing.files import on_disk
from onnxopt.timing.naming import ModelNames
from onnxopt.timing.profile_result import Profile, Tally, kind_times, node_times, op_times
from onnxopt.timing.summary import NOISY, spread_of
from onnxopt.timing.trace import Activity, Kernel

_MOST_EVENTS = 30_000  # a session; reading 100,000 takes about 2 s
_MOST_PASSES = 200
_SETTLING_PASSES = 2
_SLOWED = 0.01
_GPU_NOTE = "a GPU works on after a kernel returns: kernel times are those of starting the work"


@dataclass(frozen=True)
class ProfileConfig:
    """How to profile.

    Attributes:
        session: How to run the model.
        sessions: How often the model is loaded: where its memory lies changes the times.
        least_passes: Least number of profiled passes a session.
        session_seconds: Time to fill with passes in each session.
        timeout_seconds: Longest a session may take.
    """

    session: SessionConfig = field(default_factory=SessionConfig)
    sessions: int = 5
    least_passes: int = 5
    session_seconds: float = 0.5
    timeout_seconds: float = 300.0

    def __post_init__(self) -> None:
        for name in ("sessions", "least_passes"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}", "a number from 1")
        if self.timeout_seconds <= 0:
            raise UsageError(f"timeout_seconds={self.timeout_seconds}", "a time above 0")


def profile(
    model: Candidate | Model,
    samples: Sequence[Feeds],
    config: ProfileConfig = ProfileConfig(),
    progress: Progress = no_progress,
) -> Profile:
    """Find where the time of a run goes, in the graph as ONNX Runtime optimised it.

    Args:
        model: What to profile.
        samples: Inputs; a pass runs all of them once, and a pass counts as one run of mean time.
        config: How long, and how to run the model.
        progress: Told about every finished session.

    Raises:
        DataError: the samples do not fit the model.
        ModelError: the model does not load, fails or crashes its process.
        BackendMissingError: the provider, precision or thread count is not in force.
        LimitError: a timeout, no memory left, or a single pass calls too many kernels.
    """
    (candidate,) = named([model])
    session = candidate.session or config.session
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onnxopt-prof-")))
        feeds = folder / "feeds.npz"
        save_feeds(feeds, samples)
        path = on_disk(candidate.model, folder / "0")
        child = stack.enter_context(Child(WORKER, candidate.name))
        wait = config.timeout_seconds
        loaded = child.ask(
            "load", wait, model=str(path), feeds=str(feeds), session=jsonable(session)
        )
        trial = child.ask("profile", wait, folder=str(folder), passes=1)
        passes = _passes(trial, config)
        parts = []
        for number in range(config.sessions):
            parts.append(child.ask("profile", wait, folder=str(folder), passes=passes))
            progress("profiling", number + 1, config.sessions)
        names = ModelNames.of(path)
    return _profile(shown(candidate.model), loaded["info"], parts, len(samples), names)


def _passes(trial: dict[str, Any], config: ProfileConfig) -> int:
    """How many passes fill the time without flooding the trace."""
    by_time = math.ceil(config.session_seconds * 1e3 / max(float(sum(trial["plain_ms"])), 1e-3))
    events = float(trial["events"]) / (_SETTLING_PASSES + 1)
    by_events = int(_MOST_EVENTS / max(events, 1.0))
    return max(min(max(by_time, config.least_passes), by_events, _MOST_PASSES), 1)


def _profile(
    model: str,
    info: dict[str, Any],
    parts: Sequence[dict[str, Any]],
    samples: int,
    names: ModelNames | None,
) -> Profile:
    tally = _tally(parts, samples)
    run_ms = _median([ms for part in parts for ms in _means(part["plain_ms"], samples)])
    return Profile(
        model=model,
        provider=info["provider"],
        device=info["device"],
        threads=info["threads"],
        precision=info["precision"],
        optimization=info["optimization"],
        sessions=len(parts),
        runs=tally.runs,
        run_ms=run_ms,
        profiled_ms=_median([ms for part in parts for ms in _means(part["run_ms"], samples)]),
        kernel_ms=_median(tally.totals_ms),
        ops=op_times(tally),
        kinds=kind_times(tally),
        nodes=node_times(tally, names),
        notes=(*info["notes"], *_notes(info["device"], run_ms, tally)),
        environment=environment(),
    )


def _notes(device: str, run_ms: float, tally: Tally) -> Iterator[str]:
    """What to hold against the numbers."""
    totals = tally.totals_ms
    if device not in ("", "cpu"):
        yield _GPU_NOTE
    excess_ms, calls = _median(totals) - run_ms, sum(a.calls for a in tally.activities)
    if excess_ms > _SLOWED * run_ms:
        added_us = 1e3 * excess_ms * tally.runs / calls
        yield f"the profiler adds at least {added_us:.1f} µs to each call: small kernels look large"
    spread = spread_of(totals) if any(totals) else 0.0
    if spread > NOISY:
        yield f"noisy: the middle half of the runs spreads over {spread:.1%} of a run"


def _tally(parts: Sequence[dict[str, Any]], samples: int) -> Tally:
    """The sessions' kernels side by side; one that a session did not call took no time there."""
    lengths = [len(part["run_ms"]) // samples for part in parts]
    found: dict[Kernel, Activity] = {}
    for number, part in enumerate(parts):
        for kernel, done in part["kernels"]:
            seen = Activity(**done)
            activity = found.setdefault(
                Kernel(**kernel),
                Activity(seen.provider, tuple(seen.inputs), tuple(seen.outputs)),
            )
            before = sum(lengths[:number])
            activity.ms += [0.0] * (before - len(activity.ms)) + _means(seen.ms, samples)
            activity.calls += seen.calls
    for activity in found.values():
        activity.ms += [0.0] * (sum(lengths) - len(activity.ms))
    return Tally(tuple(found), tuple(found.values()), sum(lengths) * samples)


def _means(times: Sequence[float], samples: int) -> list[float]:
    """The mean run of each pass."""
    by_pass = np.asarray(times, dtype=np.float64).reshape(-1, samples)
    return [float(mean) for mean in by_pass.mean(axis=1)]


def _median(values: Sequence[float]) -> float:
    return float(statistics.median(values))
