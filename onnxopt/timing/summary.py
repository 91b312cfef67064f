"""From what an entrant's process said to a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxopt.errors import BackendMissingError
from onnxopt.timing.config import BenchmarkConfig
from onnxopt.timing.files import model_size_bytes
from onnxopt.timing.measurement import Latency, Measurement
from onnxopt.timing.ratio import median_interval
from onnxopt.timing.rounds import Entrant

_CORES_SLACK = 0.3
_BUSY = 0.9
NOISY = 0.05
"""Spread of the rounds from which a machine counts as noisy; a quiet one shows 0.003 to 0.02."""


def measurement_of(entrant: Entrant, config: BenchmarkConfig, digest: str) -> Measurement:
    """Sum up one entrant.

    Raises:
        BackendMissingError: its provider took more threads than it was given.
    """
    info, turns = entrant.loaded["info"], entrant.turns
    cores_used = _per(turns, "cpu_s", "wall_s")
    check_threads(entrant, cores_used)
    typical, spread = median_interval(entrant.rounds_ms), spread_of(entrant.rounds_ms)
    runs = tuple(tuple(turn["samples_ms"]) for turn in turns)
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
        notes=notes_of(info, cores_used, spread),
        warmup_runs=entrant.warmed["runs"],
        steady=entrant.warmed["steady"],
        latency=Latency.of([ms for times in runs for ms in times]),
        typical_ms=typical,
        spread=spread,
        batch=config.batch,
        inferences_per_s=config.batch * 1e3 / typical.value,
        joules=_joules(turns, config.batch),
        rounds_ms=entrant.rounds_ms,
        samples_ms=runs,
        load_ms=info["load_ms"],
        first_ms=entrant.loaded["first_ms"],
        loads_ms=tuple(turn["load_ms"] for turn in turns) if config.reload else (),
        peak_rss_bytes=entrant.warmed["peak_rss_bytes"],
        base_rss_bytes=entrant.loaded["base_rss_bytes"],
        cores_used=cores_used,
        idle_cores=_per(turns, "idle_cpu_s", "idle_wall_s"),
        environment=digest,
    )


def check_threads(entrant: Entrant, cores_used: float) -> None:
    """On a CPU, processor time betrays a provider that takes more threads than it was given."""
    asked = entrant.loaded["info"]["threads"]
    if entrant.loaded["info"]["device"] == "cpu" and cores_used > asked + _CORES_SLACK:
        raise BackendMissingError(
            f"{entrant.name}: provider {entrant.session.provider} kept {cores_used:.1f} cores busy",
            f"{asked}",
            "use a provider that holds the number of threads",
        )


def notes_of(info: dict[str, Any], cores_used: float, spread: float) -> tuple[str, ...]:
    """The session's own notes, and what disturbed the measurement."""
    notes = list(info["notes"])
    if info["device"] == "cpu" and cores_used < _BUSY:
        notes.append(f"the machine was busy: timed runs got {cores_used:.2f} of one core")
    if spread > NOISY:
        notes.append(f"noisy: the middle half of the rounds spreads over {spread:.1%} of a run")
    return tuple(notes)


def spread_of(rounds_ms: Sequence[float]) -> float:
    """Interquartile range of the rounds over their median."""
    low, middle, high = np.percentile(rounds_ms, [25, 50, 75])
    return float((high - low) / middle)


def _joules(turns: Sequence[dict[str, Any]], batch: int) -> float | None:
    used = [turn["joules"] for turn in turns]
    if any(joules is None for joules in used):
        return None
    inferences = batch * sum(len(turn["samples_ms"]) for turn in turns)
    return float(sum(used) / inferences)


def _per(turns: Sequence[dict[str, Any]], part: str, whole: str) -> float:
    total = sum(turn[whole] for turn in turns)
    return float(sum(turn[part] for turn in turns) / total) if total else 0.0
