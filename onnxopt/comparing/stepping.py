"""Runs two models side by side over samples, or over sequences with the state each one leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onnxopt.data import Carried, Dataset, Sample, SourceDataset, State, unrolled_source
from onnxopt.data.picking import pick
from onnxopt.errors import OnnxoptError
from onnxopt.fixed import Values
from onnxopt.runtime import Session


@dataclass(frozen=True, eq=False)
class Step:
    """A sample as both models ran it.

    Attributes:
        sample: The sample.
        expected: Outputs of the reference.
        found: Outputs of the candidate; with state, of its own run through the sequence.
        tied: Outputs of the candidate from the state of the reference, where that was asked for;
            else the same as ``found``.
    """

    sample: Sample
    expected: dict[str, Any]
    found: dict[str, Any]
    tied: dict[str, Any]


def state_of(dataset: Dataset) -> State | None:
    """What models carry from sample to sample of unrolled data; None for other data."""
    source = unrolled_source(dataset)
    return None if source is None else source.state


def step_through(
    before: Session, after: Session, dataset: Dataset, *, tied: bool
) -> Iterator[Step]:
    """Run every sample; nothing is held but one step.

    Args:
        before: The reference.
        after: The candidate.
        dataset: Plain or unrolled samples.
        tied: Whether the candidate also runs from the state of the reference.

    Raises:
        OnnxoptError: A model fails; the message names model and sample.
    """
    source, pair = unrolled_source(dataset), _Pair(before, after)
    if source is None or not isinstance(dataset, SourceDataset):
        for sample in dataset:
            expected, found = pair.expected(sample), pair.found(sample)
            yield Step(sample, expected, found, found)
        return
    steps = _sequences(pair, source.dataset, source.state, tied=tied)
    yield from pick(steps, dataset.indices, dataset.origin)


def _sequences(pair: _Pair, dataset: Dataset, state: State, *, tied: bool) -> Iterator[Step]:
    ours, theirs = Carried(state), Carried(state)
    for sample in dataset:
        given = ours.into(sample)
        expected = pair.expected(given)
        ours.keep(expected)
        found = pair.found(theirs.into(sample))
        theirs.keep(found)
        from_ours = pair.found(given) if tied else found
        yield Step(sample, expected, found, from_ours)


@dataclass(frozen=True, eq=False)
class _Pair:
    """Both models. Where one has an input built in, the other is fed that value."""

    before: Session
    after: Session

    def expected(self, sample: Sample) -> dict[str, Any]:
        """What the reference makes of a sample."""
        return _run(self.before, sample, "reference", self.after.fixed)

    def found(self, sample: Sample) -> dict[str, Any]:
        """What the candidate makes of it."""
        return _run(self.after, sample, "candidate", self.before.fixed)


def _run(session: Session, sample: Sample, role: str, fixed: Values) -> dict[str, Any]:
    taken = {spec.name for spec in session.inputs}
    added = {name: value for name, value in fixed.items() if name in taken}
    try:
        return session.run({**added, **sample.feeds})
    except OnnxoptError as error:
        raise type(error)(
            f"{role}, sample {sample.item}: {error.found}", error.wanted, error.todo
        ) from error
