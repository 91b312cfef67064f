"""Joins consecutive samples to one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from onnxopt.data.dataset import Dataset, Sample, SourceDataset, digest
from onnxopt.data.entries import declared_batch
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature, TensorSpec


@dataclass(frozen=True, eq=False)
class BatchSource:
    """Call ``i`` is samples ``i*size`` to ``(i+1)*size``, joined along each batch axis.

    Inputs without an open batch axis must have one value in all samples of a call.

    Attributes:
        samples: What is joined.
        size: Samples a call.
        axes: Per input that is joined, its batch axis.
        keep_rest: Whether the last call may be smaller.
    """

    samples: Dataset
    size: int
    axes: Mapping[str, int]
    keep_rest: bool

    @property
    def origin(self) -> str:
        """Where the samples come from."""
        return self.samples.origin

    @property
    def is_random(self) -> bool:
        """Whether the inputs are made up."""
        return self.samples.is_random

    @cached_property
    def fingerprint(self) -> str:
        """The samples', combined with the way they are joined."""
        axes = sorted(self.axes.items())
        return digest("batches", self.samples.fingerprint, self.size, axes, self.keep_rest)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """The samples', and whether some fill no call."""
        rest = len(self.samples) % self.size
        if self.keep_rest or not rest:
            return self.samples.notes
        return (
            *self.samples.notes,
            f"{self.origin}: the last {rest} samples were left out, they fill no batch of "
            f"{self.size}",
        )

    @cached_property
    def items(self) -> Sequence[str]:
        """The first item of each call; calls that share an item, by whatever chain, share it."""
        found: dict[str, str] = {}
        calls = [self.samples.items[at : at + self.size] for at in self._starts()]
        for call in calls:
            roots = [_root(found, item) for item in call]
            for root in roots:
                found[root] = roots[0]
        return tuple(_root(found, call[0]) for call in calls)

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The calls at these positions, in this order; all of them for None."""
        starts = self._starts()
        if indices is not None:
            starts = [starts[index] for index in indices]
        total = len(self.samples)
        wanted = [at for s in starts for at in range(s, min(s + self.size, total))]
        samples = iter(self.samples if indices is None else self.samples.take(wanted))
        items = self.items
        for start in starts:
            group = [next(samples) for _ in range(min(self.size, total - start))]
            yield self._join(group, items[start // self.size])

    def _starts(self) -> list[int]:
        total = len(self.samples)
        return list(range(0, total if self.keep_rest else total - self.size + 1, self.size))

    def _join(self, group: Sequence[Sample], item: str) -> Sample:
        feeds = {name: self._joined(name, group) for name in group[0].feeds}
        return Sample(feeds, _labels(group), item)

    def _joined(self, name: str, group: Sequence[Sample]) -> Any:
        values = [np.asarray(sample.feeds[name]) for sample in group]
        where = f"{self.origin}, samples {group[0].item} to {group[-1].item}"
        if name not in self.axes:
            if any(not np.array_equal(value, values[0]) for value in values):
                raise DataError(f"{where}: {name} differs but cannot be batched", "batches of 1")
            return values[0]
        try:
            return np.concatenate(values, self.axes[name])
        except ValueError as error:
            shapes = ", ".join(sorted({"x".join(map(str, value.shape)) for value in values}))
            raise DataError(
                f"{where}: {name} has the shapes {shapes}", "equal ones in a batch"
            ) from error


def batched(
    dataset: Dataset,
    signature: Signature,
    size: int,
    *,
    batch_axes: Mapping[str, int] | None = None,
    entries: Sequence[str] | None = None,
) -> SourceDataset:
    """Join consecutive samples; labels become an array with one entry a sample.

    Args:
        dataset: Samples of one entry each.
        signature: Of the model.
        size: Samples a call.
        batch_axes: Per input, the batch axis where it is not 0.
        entries: Inputs that hold one entry although the model declares ``size`` of them.

    Raises:
        UsageError: The model declares another batch, or no batch at all.
    """
    axes = {spec.name: (batch_axes or {}).get(spec.name, 0) for spec in signature.inputs}
    declared = {spec.name: declared_batch(spec, axes[spec.name]) for spec in signature.inputs}
    joined = {
        name: axes[name]
        for name, fixed in declared.items()
        if fixed is None or (fixed == size and name in (entries or ()))
    }
    wrong = next((s for s in signature.inputs if _contradicts(s, declared, size, entries)), None)
    if wrong is not None or not joined:
        shown = wrong or ", ".join(map(str, signature.inputs))
        raise UsageError(f"a batch of {size} samples does not fit {shown}", "the declared size")
    keep_rest = all(declared[name] is None for name in joined)
    return SourceDataset(BatchSource(dataset, size, joined, keep_rest))


def _contradicts(
    spec: TensorSpec, declared: Mapping[str, int | None], size: int, entries: Sequence[str] | None
) -> bool:
    return spec.name in (entries or ()) and declared[spec.name] not in (None, size)


def _labels(group: Sequence[Sample]) -> object | None:
    labels = [sample.label for sample in group]
    if any(label is None for label in labels):
        return None
    try:
        return np.asarray(labels)
    except ValueError:
        return tuple(labels)


def _root(found: dict[str, str], item: str) -> str:
    while found.setdefault(item, item) != item:
        item = found[item]
    return item
