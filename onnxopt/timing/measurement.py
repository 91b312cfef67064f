"""What a benchmark returns: plain numbers with their circumstances."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from onnxopt.errors import UsageError
from onnxopt.runtime import Environment
from onnxopt.timing.ratio import Median, Ratio, paired_speedup


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one run.

    Attributes:
        p50: Median over all timed runs.
        p90: 90th percentile.
        p99: 99th percentile.
        mean: Mean.
    """

    p50: float
    p90: float
    p99: float
    mean: float

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Latency:
        """Summarise raw samples."""
        p50, p90, p99 = np.percentile(samples_ms, [50, 90, 99])
        return cls(float(p50), float(p90), float(p99), float(np.mean(samples_ms)))


@dataclass(frozen=True)
class Measurement:
    """One candidate, measured in a process of its own.

    Attributes:
        name: The candidate's name.
        model: The file that was run, as it was given; ``(in memory)`` for what was none.
        size_bytes: Size of the model with its external data.
        provider_asked: The provider that was asked for.
        provider: The provider that ran the model.
        device: Kind of device it ran on.
        placement: Nodes taken by each of ONNX Runtime's providers; empty for the CPU alone.
        threads: Threads inside one operator.
        precision: Arithmetic in force.
        optimization: ONNX Runtime's graph optimisation level.
        notes: What could not be held or checked.
        warmup_runs: Unmeasured runs before the first turn.
        steady: Whether the run time had settled by then.
        latency: Summary of all samples.
        typical_ms: Median of ``rounds_ms`` with its interval.
        spread: Interquartile range of ``rounds_ms`` over their median: how noisy the machine was.
        batch: Items that one run works on.
        inferences_per_s: Items a second, at the typical time.
        joules: Energy the processor packages took for one item, whatever else ran included; None
            where the machine does not let a program read it.
        rounds_ms: One time a round: the median over its passes of the mean run of a pass.
        samples_ms: Raw run times by round, in order; a pass runs each of the inputs once.
        load_ms: Time ONNX Runtime took to load the model in the fresh process.
        first_ms: Time of the first run in the fresh process.
        loads_ms: Load times of the rounds.
        peak_rss_bytes: Most main memory the process held with the model loaded once and warm.
        base_rss_bytes: Most it held before the model was loaded.
        cores_used: Processor time / wall time during timed runs.
        idle_cores: The same while other candidates had their turns: 0 means undisturbed.
        environment: ``Environment.digest`` of the machine.
    """

    name: str
    model: str
    size_bytes: int
    provider_asked: str
    provider: str
    device: str
    placement: dict[str, int]
    threads: int
    precision: str
    optimization: str
    notes: tuple[str, ...]
    warmup_runs: int
    steady: bool
    latency: Latency
    typical_ms: Median
    spread: float
    batch: int
    inferences_per_s: float
    joules: float | None
    rounds_ms: tuple[float, ...]
    samples_ms: tuple[tuple[float, ...], ...]
    load_ms: float
    first_ms: float
    loads_ms: tuple[float, ...]
    peak_rss_bytes: int
    base_rss_bytes: int
    cores_used: float
    idle_cores: float
    environment: str


@dataclass(frozen=True)
class BenchmarkResult:
    """All candidates, measured in the same rounds.

    Attributes:
        measurements: One for each candidate, in the order given.
        ratios: Speed-up of each later candidate over the first.
        environment: The machine.
        seed: Of the order of turns.
        within: The half width of the intervals that was asked for.
        reached: Whether every interval is as narrow; None where nothing was asked.
    """

    measurements: tuple[Measurement, ...]
    ratios: tuple[Ratio, ...]
    environment: Environment
    seed: int
    within: float | None = None
    reached: bool | None = None

    def measurement(self, name: str) -> Measurement:
        """The measurement of one candidate.

        Raises:
            UsageError: there is none of that name.
        """
        for found in self.measurements:
            if found.name == name:
                return found
        names = ", ".join(found.name for found in self.measurements)
        raise UsageError(f"no candidate {name!r}", f"one of {names}")

    def ratio(self, reference: str, candidate: str) -> Ratio:
        """Speed-up of any candidate over any other."""
        return ratio_of(self.measurement(reference), self.measurement(candidate))

    def to_json(self) -> str:
        """Everything as one JSON document."""
        return json.dumps(asdict(self), indent=1)


def ratio_of(reference: Measurement, candidate: Measurement) -> Ratio:
    """Speed-up of ``candidate`` over ``reference``, measured in the same rounds."""
    median = paired_speedup(reference.rounds_ms, candidate.rounds_ms)
    return Ratio(
        reference=reference.name,
        candidate=candidate.name,
        speedup=median.value,
        low=median.low,
        high=median.high,
        confidence=median.confidence,
        rounds=len(reference.rounds_ms),
    )
