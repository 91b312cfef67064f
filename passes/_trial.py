"""Trying a variant out: run it on data that the final verdict never sees, beside the original.

Errors are relative L2 errors of the worst float output, as in the verdict; what the original gives
is kept, so that each variant costs only its own runs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt.comparing import random_outputs
from onnxopt.comparing.fidelity import Fidelity, usual_sizes
from onnxopt.data import Sample, SourceDataset, run_sequences, unrolled_source
from onnxopt.data.picking import pick
from onnxopt.data.sequences import UnrolledSource
from onnxopt.errors import BackendMissingError, DataError
from onnxopt.metrics import MIN_SAMPLES, Interval, Scores, bootstrap_mean, change_of
from onnxopt.runtime import Session, SessionConfig, check_config, open_session
from onnxopt.transform import Context, Goal

_MOST_SAMPLES = 32
_MOST_SCORED = 64
_MOST_BYTES = 1 << 28  # of samples and the original's outputs, kept while variants are tried
_STEPS = 256  # of sequences: small models, and steps alike
_LOSS_SHARE = 0.5
_MOST_ERROR = 1e3
_LEAST_SHARE = 0.1  # of the mean error: what a sample counts for at least

DEFAULT_GOAL = Goal(max_error=0.05)
"""Where the context has none."""

_ERROR_SHARE, _CAUTIOUS_SHARE = 0.85, 0.6


def error_share(goal: Goal) -> float:
    """Of the allowed error, what a choice on search data may use."""
    return _CAUTIOUS_SHARE if goal.cautious else _ERROR_SHARE


UNSURE_ERROR = 0.1
"""An error small enough where a metric cannot tell."""

_LIKELY_ERROR = 0.3
_LIKELY_SAMPLES = 32


@dataclass(frozen=True)
class Outcome:
    """How a variant did.

    Attributes:
        error: Mean over samples of the relative L2 error, with its interval.
        loss: Of the metric, positive where the variant is worse; None without a metric.
        errors: Of each sample.
        seen_loss: The loss with the interval that what was seen alone gives.
    """

    error: Interval
    loss: Interval | None
    errors: tuple[float, ...] = ()
    seen_loss: Interval | None = None

    def meets(self, goal: Goal) -> bool:
        """Whether unseen data can be expected to confirm that the goal is met.

        An error may reach 85 % of what is allowed, 60 % with caution, and its interval, as wide as
        it will be on unseen data, all of it. A metric may lose half of what is allowed; where there
        are too few samples to be sure of that, the error must be small as well: smaller where the
        goal is to be met with caution, or where what was seen does not speak for it.
        """
        return self._error_fits(goal) and self._loss_fits(goal.max_drop, goal.cautious)

    def _error_fits(self, goal: Goal) -> bool:
        limit, error = goal.max_error, self.error
        if limit is None:
            return True
        width = (error.high - error.mean) * math.sqrt(
            error.samples / (goal.samples or error.samples or 1)
        )
        sure = error.samples < MIN_SAMPLES or not width > 0 or error.mean + width <= limit
        return error.mean <= error_share(goal) * limit and sure

    def _loss_fits(self, limit: float | None, cautious: bool) -> bool:
        if limit is None:
            return True
        if self.loss is None:
            return self.error.mean <= _ERROR_SHARE * UNSURE_ERROR
        if self.loss.samples >= MIN_SAMPLES and self.loss.high <= limit:
            return True
        likely = not cautious and self._likely_fits(limit)
        most = _LIKELY_ERROR if likely else UNSURE_ERROR
        return self.loss.mean <= _LOSS_SHARE * limit and self.error.mean <= most

    def _likely_fits(self, limit: float) -> bool:
        seen = self.seen_loss
        return seen is not None and seen.samples >= _LIKELY_SAMPLES and seen.high <= limit

    def __str__(self) -> str:
        text = f"error {self.error.mean:.3g}"
        return text if self.loss is None else f"{text}, loss {self.loss.mean:.3g}"


@dataclass(frozen=True, eq=False)
class Drawn:
    """A sample and the weight of its error in a mean."""

    sample: Sample
    weight: float


class Trial:
    """Runs variants on the samples kept for choices.

    Args:
        reference: The original.
        context: For data, target and goal.

    Raises:
        DataError: There is no data.
    """

    def __init__(self, reference: ir.Model, context: Context) -> None:
        self._goal = context.goal or DEFAULT_GOAL
        self._config = session_on_target(context)
        self._fidelity = Fidelity(reference, random_outputs(reference))
        self._sequences = _sequences(context)
        self._kept: list[tuple[Sample, dict[str, Any]]] = []
        with open_session(reference, session_config(context)) as session:
            samples = _few(context, _MOST_SCORED if self._goal.metric else _MOST_SAMPLES)
            room = _MOST_BYTES
            for sample, outputs in self._runs(session, samples):
                self._kept.append((sample, outputs))
                room -= _bytes(sample.feeds) + _bytes(outputs)
                if room < 0:
                    break
        if not self._kept:
            raise DataError("there is no data to try variants on", todo="give some with --data")
        own = [self._fidelity.of(outputs, outputs) for _, outputs in self._kept]
        self._usual = usual_sizes(own)

    def of(self, variant: ir.Model) -> Outcome:
        """Run a variant on all samples."""
        errors: list[float] = []
        metric = self._goal.metric
        before, after = (Scores(metric), Scores(metric)) if metric else (None, None)
        state = tuple(self._sequences[0].state.pairs.values()) if self._sequences else ()
        with open_session(variant, self._config) as session:
            runs = self._runs(session, (sample for sample, _ in self._kept))
            for (sample, expected), (_, found) in zip(self._kept, runs, strict=False):
                errors.append(self.error(expected, found, state))
                if before is None or after is None or sample.label is None:
                    continue
                before.add(expected, sample.label, sample.item, reference=expected)
                after.add(found, sample.label, sample.item, reference=expected)
        if before is None or after is None or not before.values:
            return Outcome(_interval(errors), None, tuple(errors))
        change, seen = change_of(before, after), change_of(before, after, seen_only=True)
        if before.metric.higher_is_better:
            change, seen = -change, -seen
        return Outcome(_interval(errors), change, tuple(errors), seen)

    def drawn(self, outcome: Outcome, count: int) -> list[Drawn]:
        """Samples that stand for all: drawn in proportion to their errors, evenly, by no chance.

        A few samples often hold most of the mean error. Where ``p`` is proportional to the error
        of a variant, the mean of ``e / p`` over what is drawn estimates the mean error of others
        like it best (importance sampling).
        """
        errors = np.minimum(np.array(outcome.errors, np.float64), _MOST_ERROR)
        errors = np.maximum(errors, max(float(errors.mean()) * _LEAST_SHARE, 1e-12))
        reached = np.cumsum(errors) / errors.sum()
        places = np.searchsorted(reached, (np.arange(count) + 0.5) / count)
        mean = float(errors.mean())
        return [Drawn(self._kept[at][0], mean / float(errors[at])) for at in places]

    def _runs(
        self, session: Session, samples: Iterable[Sample]
    ) -> Iterator[tuple[Sample, dict[str, Any]]]:
        """Each sample with a model's outputs; sequences with the state that this model leaves."""
        if self._sequences is None:
            yield from ((sample, session.run(sample.feeds)) for sample in samples)
            return
        source, indices = self._sequences
        steps = run_sequences(session.run, source.dataset, source.state)
        for sample, outputs in pick(steps, indices, source.origin):
            yield sample, dict(outputs)

    def error(
        self, expected: Mapping[str, Any], found: Mapping[str, Any], unread: Collection[str] = ()
    ) -> float:
        """The error of one sample's outputs; those that are not read count only without others."""
        error = self._fidelity.of(expected, found, unread).worst(self._usual) or 0.0
        return error if math.isfinite(error) else math.inf


def session_config(context: Context) -> SessionConfig:
    """How originals run, and what is only looked into: in fp32 on the CPU, whatever the target."""
    plain = SessionConfig(threads=context.threads, spinning=False)
    if context.target is None:
        return plain
    return replace(plain, optimization=context.target.session.optimization)


def session_on_target(context: Context) -> SessionConfig:
    """How variants run: on the context's target, or, where that is elsewhere, as originals do."""
    plain, target = session_config(context), context.target
    if target is None:
        return plain
    wanted = replace(plain, provider=target.provider, precision=target.session.precision)
    try:
        check_config(wanted)
    except BackendMissingError:
        return plain
    return wanted


def _interval(errors: Sequence[float]) -> Interval:
    if not all(map(math.isfinite, errors)):
        return Interval(math.inf, math.inf, math.inf, len(errors))
    return bootstrap_mean(errors)


def _few(context: Context, most: int) -> Iterator[Sample]:
    """Search data, filled up with calibration data."""
    parts = (part for part in (context.search, context.calibration) if part is not None)
    return itertools.islice(itertools.chain.from_iterable(parts), most)


def _sequences(context: Context) -> tuple[UnrolledSource, Sequence[int]] | None:
    """Sequences to run through, and which of their steps count; None for plain samples."""
    for data in (context.search, context.calibration):
        if isinstance(data, SourceDataset) and len(data):
            source = unrolled_source(data)
            indices = data.indices or range(len(data))
            return None if source is None else (source, indices[:_STEPS])
    return None


def _bytes(outputs: Mapping[str, Any]) -> int:
    return sum(np.asarray(value).nbytes for value in outputs.values())
