"""What every part of the program reads data through: samples, and data sets made of them."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError

Feeds = Mapping[str, npt.NDArray[Any]]
"""Input name to array; a sequence or map input takes a list or dict instead of an array."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One call of the model.

    Attributes:
        feeds: Every input by name, shaped exactly as the model takes it.
        label: What a metric compares the outputs with; None where there is none.
        item: Stable id of the source item. Samples with the same id (windows of one recording,
            crops of one image) never end in different parts of a split.
    """

    feeds: Feeds
    label: object | None = None
    item: str = ""


class Described(Protocol):
    """What is known of data without reading the samples."""

    @property
    def origin(self) -> str:
        """The spec it was opened from."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what determines the samples; equal in every process."""
        ...

    @property
    def items(self) -> Sequence[str]:
        """The source item of each sample."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know, such as samples that were left out."""
        ...

    @property
    def is_random(self) -> bool:
        """Whether the inputs are made up, so that the outputs say nothing about accuracy."""
        ...


class Dataset(Described, Protocol):
    """Samples that can be read again and again, one at a time."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Sample]: ...
    def take(self, indices: Iterable[int]) -> Dataset:
        """The samples at these positions, in this order."""
        ...


class Source(Described, Protocol):
    """What a kind of data must offer; ``SourceDataset`` makes a ``Dataset`` of it."""

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        ...


@dataclass(frozen=True, eq=False)
class SourceDataset:
    """A source, or a choice of its samples."""

    source: Source
    indices: tuple[int, ...] | None = None

    @property
    def origin(self) -> str:
        """The spec it was opened from."""
        return self.source.origin

    @cached_property
    def fingerprint(self) -> str:
        """The source's, combined with the chosen positions."""
        if self.indices is None:
            return self.source.fingerprint
        return digest(self.source.fingerprint, *self.indices)

    @cached_property
    def items(self) -> Sequence[str]:
        """The source item of each sample."""
        items = self.source.items
        return items if self.indices is None else tuple(items[i] for i in self.indices)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about this data."""
        return self.source.notes

    @property
    def is_random(self) -> bool:
        """Whether the inputs are made up."""
        return self.source.is_random

    def __len__(self) -> int:
        return len(self.source.items) if self.indices is None else len(self.indices)

    def __iter__(self) -> Iterator[Sample]:
        return self.source.read(self.indices)

    def take(self, indices: Iterable[int]) -> SourceDataset:
        """The samples at these positions, in this order.

        Raises:
            DataError: A position is outside the data set.
        """
        chosen, size = tuple(operator.index(i) for i in indices), len(self)
        for index in chosen:
            if not 0 <= index < size:
                raise DataError(f"{self.origin}: sample {index} does not exist, there are {size}")
        if self.indices is not None:
            chosen = tuple(self.indices[i] for i in chosen)
        return SourceDataset(self.source, chosen)


@dataclass(frozen=True, eq=False)
class MemorySource:
    """Samples held in memory."""

    samples: tuple[Sample, ...]
    origin: str = "memory"
    notes: tuple[str, ...] = ()
    is_random: bool = False

    @cached_property
    def items(self) -> Sequence[str]:
        """The source item of each sample."""
        return tuple(sample.item for sample in self.samples)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the samples."""
        return digest(*map(sample_digest, self.samples))

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        return iter(self.samples if indices is None else [self.samples[i] for i in indices])


def in_memory(samples: Iterable[Sample | Feeds], origin: str = "memory") -> SourceDataset:
    """A data set of these samples; plain feeds become samples without label."""
    made = tuple(
        value if isinstance(value, Sample) else Sample(value, None, str(index))
        for index, value in enumerate(samples)
    )
    return SourceDataset(MemorySource(made, origin))


def digest(*parts: object) -> str:
    """SHA-256 over parts that have an exact ``str`` (numbers, strings)."""
    state = hashlib.sha256()
    for part in parts:
        text = str(part).encode()
        state.update(len(text).to_bytes(8, "little") + text)
    return state.hexdigest()


def sample_digest(sample: Sample) -> str:
    """SHA-256 over the values, label and item of a sample."""
    state = hashlib.sha256(sample.item.encode())
    for name in sorted(sample.feeds):
        state.update(name.encode() + b"\0")
        _feed_digest(state, sample.feeds[name])
    _feed_digest(state, sample.label)
    return state.hexdigest()


def _feed_digest(state: hashlib._Hash, value: object) -> None:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind != "O":
        array = np.asarray(value)
        state.update(f"{array.dtype.str}{array.dtype.name}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    elif isinstance(value, np.ndarray | list | tuple):
        state.update(f"[{len(value)}".encode())
        for item in np.ravel(value) if isinstance(value, np.ndarray) else value:
            _feed_digest(state, item)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            state.update(repr(key).encode())
            _feed_digest(state, value[key])
    else:
        state.update(repr(value).encode())
