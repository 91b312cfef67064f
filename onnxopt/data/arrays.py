"""Data from arrays with one entry a sample: one ``.npz``, or a folder of ``.npy`` files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxopt.data.check import as_dtype, check_names
from onnxopt.data.dataset import Sample, digest
from onnxopt.data.npy import Archive, Arrays, Member
from onnxopt.data.npy_folder import NpyFolder
from onnxopt.data.options import LABELS, DataOptions
from onnxopt.data.rows import hash_files
from onnxopt.data.slicing import Slicing, common_count, plan_slicing
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature


@dataclass(frozen=True, eq=False)
class ArraySource:
    """One array per input, cut into samples; nothing is held but the sample being read.

    Attributes:
        path: The file or folder of the arrays.
        slicings: Per input, how its array is cut.
        labels: The array of labels.
        label_step: Labels a sample.
        items: The source item of each sample.
        notes: What was left out.
        stamps: Of all arrays, to notice that they changed.
    """

    path: Path
    slicings: Mapping[str, Slicing]
    labels: Member | None
    label_step: int
    items: Sequence[str]
    notes: tuple[str, ...]
    stamps: tuple[tuple[int, ...], ...]
    is_random: bool = False

    @property
    def origin(self) -> str:
        """The file or folder."""
        return str(self.path)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all arrays and how they are cut; of a zip, over its checksums."""
        name = self.labels.name if self.labels else None
        cuts = (*map(str, _cuts(self.slicings)), name, self.label_step, *self.items)
        with open_arrays(self.path) as arrays:
            if isinstance(arrays, NpyFolder):
                files = [arrays.path_of(member) for member in sorted(arrays.members)]
                return digest(*sorted(arrays.members), *hash_files(files), *cuts)
            return digest(*content(arrays.members), *cuts)

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        with open_arrays(self.path) as arrays:
            if stamps(arrays.members) != self.stamps:
                raise DataError(f"{self.path} changed while it was in use")
            for index in range(len(self.items)) if indices is None else indices:
                where = f"{self.path.name}[{index}]"
                feeds = {
                    name: as_dtype(slicing.read(arrays, index), slicing.spec, where)
                    for name, slicing in self.slicings.items()
                }
                yield Sample(feeds, self._label(arrays, index), self.items[index])

    def _label(self, arrays: Arrays, index: int) -> object | None:
        if self.labels is None:
            return None
        if not self.labels.shape:
            return plain(arrays.read(self.labels.name))
        start = index * self.label_step
        rows = arrays.read_slice(self.labels.name, 0, start, start + self.label_step)
        return plain(rows[0] if self.label_step == 1 else rows)


def open_array_source(path: Path, signature: Signature, options: DataOptions) -> ArraySource:
    """Open one ``.npz``, or a folder with one ``.npy`` an input.

    Args:
        path: The file or folder.
        signature: Of the model.
        options: Name of the arrays of labels and items; per input, the axis to cut along where
            it is not 0.

    Raises:
        DataError: The arrays do not fit the model.
        UsageError: ``batch_axes`` names no input.
    """
    labels, batch_axes = options.labels, options.batch_axes
    _check_batch_axes(batch_axes, signature)
    with open_arrays(path) as arrays:
        members = arrays.members
        check_names(members, signature, path.name)
        slicings = {
            spec.name: plan_slicing(
                spec, members[spec.name], batch_axes.get(spec.name, 0), path.name
            )
            for spec in signature.inputs
        }
        count = common_count(slicings, path.name)
        if count == 0:
            raise DataError(f"{path} holds no samples", "at least one entry along the batch axis")
        found = label_member(members, labels, signature, path.name)
        used = {*slicings, found.name if found else "", options.items or ""}
        items = _items(arrays, options, count, path.name)
    return ArraySource(
        path=path,
        slicings=slicings,
        labels=found,
        label_step=_label_step(found, count, slicings, path.name),
        items=items,
        notes=tuple(_notes(slicings, set(members) - used, path.name)),
        stamps=stamps(members),
    )


def open_arrays(path: Path) -> Archive | NpyFolder:
    """The arrays of a ``.npz``, or of a folder of ``.npy`` files."""
    return NpyFolder(path) if path.is_dir() else Archive(path)


def plain(value: Any) -> object:
    """A label as Python's own int, float or str where it is a single one."""
    return value.item() if getattr(value, "ndim", 1) == 0 else value


def label_member(
    members: Mapping[str, Member], name: str, signature: Signature, where: str
) -> Member | None:
    """The array of labels, or None where there is none that is no input.

    Raises:
        DataError: There is no array of the name asked for.
    """
    if signature.input(name) is not None:
        return None
    if name not in members and name != LABELS:
        raise DataError(
            f"{where}: no labels called {name!r}", todo=f"it holds {', '.join(members)}"
        )
    return members.get(name)


def _label_step(
    labels: Member | None, count: int, slicings: Mapping[str, Slicing], where: str
) -> int:
    """Labels a sample: 1, or the model's batch where there is a label for each entry."""
    if labels is None or not labels.shape:
        return 1
    held = labels.shape[0]
    if held == count:
        return 1
    cut = [s for s in slicings.values() if s.count == count]
    batch = max(cut, key=lambda s: s.step, default=None)
    if batch is not None and held == batch.step * count + batch.left_over:
        return batch.step
    raise DataError(f"{where}: {held} labels for {count} samples", "one label for each sample")


def _items(arrays: Arrays, options: DataOptions, count: int, where: str) -> Sequence[str]:
    """As named; else each sample is its own, or with state all are steps of one sequence."""
    name = options.items
    if name is None:
        return (where,) * count if options.state else tuple(map(str, range(count)))
    if name not in arrays.members:
        raise DataError(
            f"{where}: no items called {name!r}", todo=f"it holds {', '.join(arrays.members)}"
        )
    shape = arrays.members[name].shape
    if shape != (count,):
        raise DataError(f"{where}: items of shape {list(shape)} for {count} samples", f"[{count}]")
    return tuple(map(str, arrays.read(name).tolist()))


def _notes(slicings: Mapping[str, Slicing], unused: set[str], where: str) -> Iterator[str]:
    for name, slicing in slicings.items():
        if slicing.left_over:
            yield (
                f"{where}: the last {slicing.left_over} entries of {name} were left out, they "
                f"fill no batch of {slicing.step}"
            )
    if unused:
        yield f"{where}: arrays that are no inputs were ignored: {', '.join(sorted(unused))}"


def stamps(members: Mapping[str, Member]) -> tuple[tuple[int, ...], ...]:
    """What changes with the data, of all arrays in file order."""
    return tuple(member.stamp for member in members.values())


def content(members: Mapping[str, Member]) -> Iterator[object]:
    """Name, type, shape and checksum of every array; the zip stores the checksum."""
    for name in sorted(members):
        member = members[name]
        yield from (name, member.dtype.str, member.shape, member.fortran, *member.stamp)


def _cuts(slicings: Mapping[str, Slicing]) -> Iterator[tuple[object, ...]]:
    for name in sorted(slicings):
        s = slicings[name]
        yield (name, str(s.spec), s.axis, s.step, s.drop_axis, s.add_axis)


def _check_batch_axes(batch_axes: Mapping[str, int], signature: Signature) -> None:
    unknown = [name for name in batch_axes if signature.input(name) is None]
    if unknown:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise UsageError(f"batch axis for unknown input {unknown[0]!r}", f"one of {names}")
