"""Runs two models over a data set and adds up how they differ."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxopt.comparing.agreement import compare_outputs
from onnxopt.comparing.comparison import Comparison, Criteria, MetricChange
from onnxopt.comparing.fidelity import Fidelity, SampleError, usual_sizes
from onnxopt.comparing.randomness import random_outputs
from onnxopt.comparing.stepping import Step, state_of, step_through
from onnxopt.comparing.summary import Accumulator, OutputSummary
from onnxopt.data import Dataset, State
from onnxopt.errors import DataError
from onnxopt.exactness import Tolerance
from onnxopt.metrics import (
    MIN_SAMPLES,
    Interval,
    Scores,
    Verdict,
    bootstrap_mean,
    change_of,
    judge,
)
from onnxopt.progress import Progress, no_progress
from onnxopt.runtime import SessionConfig, SessionInfo, open_session
from onnxopt.store import load

BITWISE = Tolerance(0.0, 0.0)


def compare(
    reference: Path | bytes | ir.Model,
    candidate: Path | bytes | ir.Model,
    dataset: Dataset,
    criteria: Criteria | None = None,
    *,
    config: SessionConfig | None = None,
    candidate_config: SessionConfig | None = None,
    progress: Progress = no_progress,
) -> Comparison:
    """Run both models over the data, one sample at a time, and add up how they differ.

    Of unrolled data (``Unroller``) each model runs through the sequences with the state that it
    leaves itself, and outputs that only become state do not count for fidelity: what they lost
    shows in later steps. A tolerance is judged step by step, both models in the reference's state.

    Args:
        reference: The model to be measured against.
        candidate: The other one.
        dataset: Labelled where the criteria hold a metric.
        criteria: Tolerance, metric and budget; none by default.
        config: How to run both. By default one thread of the CPU, without spinning; with
            ONNX Runtime's optimisations off where the tolerance is zero.
        candidate_config: How to run the candidate, where that differs.
        progress: Told about each sample.

    Raises:
        DataError: The data is empty, does not fit, or lacks labels.
        ModelError: A model does not load, or fails on a sample.
    """
    asked = criteria or Criteria()
    ours = config or _default_config(asked.tolerance)
    original = _loaded(reference)
    excused = {**random_outputs(_loaded(candidate)), **random_outputs(original)}
    fidelity = Fidelity(original, excused)
    with (
        open_session(reference, ours) as before,
        open_session(candidate, candidate_config or ours) as after,
    ):
        record, total = _Record(asked, fidelity, state_of(dataset)), len(dataset)
        steps = step_through(before, after, dataset, tied=asked.tolerance is not None)
        for done, step in enumerate(steps):
            progress("compare", done, total)
            record.add(step)
        progress("compare", total, total)
        return record.comparison(before.info, after.info, dataset)


@dataclass
class _Record:
    """What was seen so far: sums for each output, a few numbers for each sample."""

    criteria: Criteria
    fidelity: Fidelity
    state: State | None
    accumulator: Accumulator = field(default_factory=Accumulator)
    errors: list[SampleError] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    scores: tuple[Scores, Scores] | None = None
    samples: int = 0

    def __post_init__(self) -> None:
        metric = self.criteria.metric
        self.scores = None if metric is None else (Scores(metric), Scores(metric))

    def add(self, step: Step) -> None:
        sample, expected, found = step.sample, step.expected, step.found
        excused, tolerance = self.fidelity.excused, self.criteria.tolerance
        agreements = compare_outputs(expected, step.tied, tolerance, excused)
        self.accumulator.add(agreements, sample.item)
        self.samples += 1
        if step.tied is not found:
            agreements = compare_outputs(expected, found, None, excused)
        unread = () if self.state is None else self.state.pairs.values()
        error = self.fidelity.judged(agreements, expected, found, tuple(unread))
        if error.outputs is not None:
            self.errors.append(error)
            self.items.append(sample.item)
        if self.scores is not None:
            where = f"sample {sample.item}"
            for scores, outputs in zip(self.scores, (expected, found), strict=True):
                scores.add(outputs, sample.label, where, reference=expected, item=sample.item)

    def comparison(
        self, reference_run: SessionInfo, candidate_run: SessionInfo, dataset: Dataset
    ) -> Comparison:
        if self.samples == 0:
            raise DataError(f"{dataset.origin} holds no samples", "at least one")
        outputs = self.accumulator.summaries()
        change = self._metric_change()
        fidelity = self._fidelity()
        return Comparison(
            samples=self.samples,
            agrees=all(output.verdict != "differ" for output in outputs),
            outputs=outputs,
            fidelity=fidelity,
            metric=change,
            verdict=self._verdict(change, fidelity),
            warnings=(*self._warnings(outputs, dataset), *dataset.notes),
            criteria=self._plain_criteria(),
            reference_run=reference_run,
            candidate_run=candidate_run,
            dataset=dataset.fingerprint,
        )

    def _metric_change(self) -> MetricChange | None:
        if self.scores is None:
            return None
        before, after = self.scores
        metric = before.metric
        change = change_of(before, after, seed=self.criteria.seed)
        return MetricChange(
            metric.name, metric.higher_is_better, before.value(), after.value(), change
        )

    def _fidelity(self) -> Interval | None:
        usual = usual_sizes(self.errors)
        errors = [worst for one in self.errors if (worst := one.worst(usual)) is not None]
        if not errors:
            return None
        if not all(map(math.isfinite, errors)):
            return Interval(math.inf, math.inf, math.inf, len(errors))
        return bootstrap_mean(errors, items=self.items, seed=self.criteria.seed)

    def _verdict(self, change: MetricChange | None, fidelity: Interval | None) -> Verdict | None:
        loss = change.loss if change is not None else fidelity
        if self.criteria.limit is None or loss is None:
            return None
        return judge(loss, self.criteria.limit)

    def _warnings(self, outputs: tuple[OutputSummary, ...], dataset: Dataset) -> list[str]:
        found = []
        if self.samples < MIN_SAMPLES:
            few = "1 sample is" if self.samples == 1 else f"{self.samples} samples are"
            found.append(
                f"{few} too few to claim anything about accuracy; give {MIN_SAMPLES} or more"
            )
        found += [f"{o.name} {o.reason}" for o in outputs if o.verdict == "not-comparable"]
        return found

    def _plain_criteria(self) -> dict[str, Any]:
        tolerance, metric = self.criteria.tolerance, self.criteria.metric
        return {
            "tolerance": None if tolerance is None else asdict(tolerance),
            "metric": None if metric is None else metric.name,
            "limit": self.criteria.limit,
            "seed": self.criteria.seed,
        }


def _loaded(model: Path | bytes | ir.Model) -> ir.Model:
    return model if isinstance(model, ir.Model) else load(model)


def _default_config(tolerance: Tolerance | None) -> SessionConfig:
    plain = SessionConfig(threads=1, spinning=False)
    return replace(plain, optimization="off") if tolerance == BITWISE else plain
