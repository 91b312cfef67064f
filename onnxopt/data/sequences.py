"""Runs a stateful model over sequences: consecutive samples of one item are its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from random import Random
from typing import Any

from onnxopt.data.dataset import Dataset, Feeds, Sample, Source, SourceDataset, digest
from onnxopt.data.picking import pick
from onnxopt.data.state import State
from onnxopt.errors import DataError

Run = Callable[[Feeds], Mapping[str, Any]]
"""Runs a model: feeds to all outputs."""


@dataclass
class Carried:
    """What one model carries from step to step; nothing where it has no state."""

    state: State | None
    _item: str | None = None
    _values: Feeds = field(default_factory=dict)

    def into(self, sample: Sample) -> Sample:
        """The step with the state it starts from: zeros where the item is another one.

        Raises:
            UsageError: The size of a state cannot be told.
        """
        if self.state is None:
            return sample
        if sample.item != self._item:
            self._item, self._values = sample.item, self.state.first(sample.feeds)
        return replace(sample, feeds={**sample.feeds, **self._values})

    def keep(self, outputs: Mapping[str, Any]) -> None:
        """Take what the next step starts from out of this one's outputs.

        Raises:
            DataError: An output is missing.
        """
        if self.state is not None:
            self._values = self.state.following(outputs, f"sample {self._item}")


def run_sequences(
    run: Run, dataset: Dataset, state: State
) -> Iterator[tuple[Sample, Mapping[str, Any]]]:
    """Run every step in order, each with the state that the one before left.

    The state is zero where the item changes. Nothing is held but one step.

    Yields:
        The sample with its state among the feeds, and all outputs.

    Raises:
        UsageError: The size of a state cannot be told.
    """
    carried = Carried(state)
    for sample in dataset:
        step = carried.into(sample)
        outputs = run(step.feeds)
        carried.keep(outputs)
        yield step, outputs


def unroll(dataset: Dataset, state: State, run: Run, model: str) -> SourceDataset:
    """Steps as plain samples, their state as a model leaves it when it runs the sequences.

    Whoever reads it needs to know nothing of state: to calibrate, to time, or to compare two
    models step by step from equal states. Errors that add up over steps do not show; they do
    with ``run_sequences`` for each model.

    Args:
        dataset: Steps without state.
        state: What is carried.
        run: Runs the model that gives the states.
        model: Identifies that model in the fingerprint, such as its hash.
    """
    return SourceDataset(UnrolledSource(dataset, state, run, model))


@dataclass(frozen=True, eq=False)
class UnrolledSource:
    """Runs the model anew for every pass over the data."""

    dataset: Dataset
    state: State
    run: Run
    model: str

    @property
    def origin(self) -> str:
        """Where the steps come from."""
        return self.dataset.origin

    @property
    def items(self) -> Sequence[str]:
        """The sequence of each step."""
        return self.dataset.items

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about this data."""
        return self.dataset.notes

    @property
    def is_random(self) -> bool:
        """Whether the inputs are made up."""
        return self.dataset.is_random

    @cached_property
    def fingerprint(self) -> str:
        """The steps', combined with the model and what it carries."""
        carried = (sorted(self.state.pairs.items()), sorted(self.state.dims.items()))
        return digest("unrolled", self.dataset.fingerprint, self.model, carried)

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        steps = (step for step, _ in run_sequences(self.run, self.dataset, self.state))
        return pick(steps, indices, self.origin)


def unrolled_source(dataset: Dataset) -> UnrolledSource | None:
    """Where the steps of an unrolled data set come from; None for any other data set."""
    source = dataset.source if isinstance(dataset, SourceDataset) else None
    return source if isinstance(source, UnrolledSource) else None


def choose_sequences(
    dataset: SourceDataset, *, limit: int | None, shuffle: bool, seed: int
) -> SourceDataset:
    """At most ``limit`` whole sequences, drawn by seed; their steps keep their order.

    Raises:
        DataError: The steps of an item are not in a row.
    """
    numbered = groupby(range(len(dataset)), key=dataset.items.__getitem__)
    runs = [list(indices) for _, indices in numbered]
    if len(runs) > len(set(dataset.items)):
        raise DataError(f"{dataset.origin}: steps of several items alternate", "each item in a row")
    if not shuffle and (limit is None or limit >= len(runs)):
        return dataset
    drawn = Random(seed).sample(range(len(runs)), min(limit or len(runs), len(runs)))
    order = drawn if shuffle else sorted(drawn)
    return dataset.take(index for at in order for index in runs[at])


@dataclass(frozen=True, eq=False)
class ChainedSource:
    """Several sources one after the other."""

    parts: tuple[Source, ...]
    origin: str
    is_random: bool = False

    @cached_property
    def items(self) -> Sequence[str]:
        """The parts' items."""
        return tuple(item for part in self.parts for item in part.items)

    @cached_property
    def fingerprint(self) -> str:
        """Over the parts'."""
        return digest("chained", *(part.fingerprint for part in self.parts))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """All notes; of those that parts have in common but for their name, the first one."""
        alike: dict[str, list[str]] = {}
        for note in (note for part in self.parts for note in part.notes):
            alike.setdefault(note.partition(": ")[2] or note, []).append(note)
        return tuple(_first_of(notes) for notes in alike.values())

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        places = [(at, i) for at, part in enumerate(self.parts) for i in range(len(part.items))]
        wanted = places if indices is None else [places[index] for index in indices]
        for at, group in groupby(wanted, key=lambda place: place[0]):
            yield from self.parts[at].read([index for _, index in group])


def _first_of(notes: Sequence[str]) -> str:
    return notes[0] + (f" (and {len(notes) - 1} more like it)" if len(notes) > 1 else "")
