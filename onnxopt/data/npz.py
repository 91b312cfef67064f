"""Data from one ``.npz`` file (sliced) or a folder of them (one sample each)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxopt.data.check import as_dtype, check_feeds, check_names
from onnxopt.data.dataset import Sample, digest
from onnxopt.data.npy import Archive, Member
from onnxopt.data.slicing import Slicing, common_count, plan_slicing
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature

LABELS = "labels"


@dataclass(frozen=True, eq=False)
class NpzSource:
    """One array per input, cut into samples; nothing is held but the sample being read."""

    path: Path
    slicings: Mapping[str, Slicing]
    labels: Member | None
    label_step: int
    count: int
    notes: tuple[str, ...]
    fingerprint: str
    checksums: tuple[int, ...]
    origin: str
    is_random: bool = False

    @cached_property
    def items(self) -> Sequence[str]:
        """Each sample is its own item."""
        return tuple(map(str, range(self.count)))

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        with Archive(self.path) as archive:
            if checksums(archive.members) != self.checksums:
                raise DataError(f"{self.path} changed while it was in use")
            for index in range(self.count) if indices is None else indices:
                where = f"{self.path.name}[{index}]"
                feeds = {
                    name: as_dtype(slicing.read(archive, index), slicing.spec, where)
                    for name, slicing in self.slicings.items()
                }
                yield Sample(feeds, self._label(archive, index), str(index))

    def _label(self, archive: Archive, index: int) -> object | None:
        if self.labels is None:
            return None
        if not self.labels.shape:
            return plain(archive.read(self.labels.name))
        start = index * self.label_step
        rows = archive.read_slice(self.labels.name, 0, start, start + self.label_step)
        return plain(rows[0] if self.label_step == 1 else rows)


def open_npz(
    path: Path, signature: Signature, *, labels: str = LABELS, batch_axes: Mapping[str, int]
) -> NpzSource:
    """Open one file.

    Args:
        path: The ``.npz``.
        signature: Of the model.
        labels: Name of the array of labels.
        batch_axes: Per input, the axis to cut along where it is not 0.

    Raises:
        DataError: The file does not fit the model.
        UsageError: ``batch_axes`` names no input.
    """
    _check_batch_axes(batch_axes, signature)
    with Archive(path) as archive:
        members = archive.members
    check_names(members, signature, path.name)
    slicings = {
        spec.name: plan_slicing(spec, members[spec.name], batch_axes.get(spec.name, 0), path.name)
        for spec in signature.inputs
    }
    count = common_count(slicings, path.name)
    if count == 0:
        raise DataError(f"{path} holds no samples", "at least one entry along the batch axis")
    label_member = _label_member(members, labels, signature, path.name)
    step = _label_step(label_member, count, slicings, path.name)
    return NpzSource(
        path=path,
        slicings=slicings,
        labels=label_member,
        label_step=step,
        count=count,
        notes=tuple(_notes(slicings, members, label_member, path.name)),
        fingerprint=digest(*_content(members), *map(str, _cuts(slicings)), labels, step),
        checksums=checksums(members),
        origin=str(path),
    )


@dataclass(frozen=True, eq=False)
class FolderSource:
    """Files of one sample each, every array exactly as the model takes it, in order of name."""

    paths: tuple[Path, ...]
    signature: Signature
    labels: str
    origin: str
    notes: tuple[str, ...] = ()
    is_random: bool = False

    @cached_property
    def items(self) -> Sequence[str]:
        """The file names."""
        return tuple(path.name for path in self.paths)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, sizes and checksums of all arrays; reads no data."""
        parts: list[object] = [self.labels]
        for path in self.paths:
            with Archive(path) as archive:
                parts += [path.name, *_content(archive.members)]
        return digest(*parts)

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        paths = self.paths if indices is None else [self.paths[i] for i in indices]
        return map(self._sample, paths)

    def _sample(self, path: Path) -> Sample:
        with Archive(path) as archive:
            check_names(archive.members, self.signature, path.name)
            arrays = {spec.name: archive.read(spec.name) for spec in self.signature.inputs}
            member = _label_member(archive.members, self.labels, self.signature, path.name)
            label = None if member is None else plain(archive.read(member.name))
        return Sample(check_feeds(arrays, self.signature, path.name), label, path.name)


def open_folder(path: Path, signature: Signature, *, labels: str = LABELS) -> FolderSource:
    """Open a folder of ``.npz`` files.

    Raises:
        DataError: It holds none.
    """
    paths = tuple(sorted(path.glob("*.npz"), key=lambda p: p.name))
    if not paths:
        raise DataError(f"folder {path} holds no .npz files", "one file for each sample")
    return FolderSource(paths, signature, labels, str(path))


def plain(value: Any) -> object:
    """A label as Python's own int, float or str where it is a single one."""
    return value.item() if getattr(value, "ndim", 1) == 0 else value


def _label_member(
    members: Mapping[str, Member], name: str, signature: Signature, where: str
) -> Member | None:
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


def _notes(
    slicings: Mapping[str, Slicing],
    members: Mapping[str, Member],
    labels: Member | None,
    where: str,
) -> Iterator[str]:
    for name, slicing in slicings.items():
        if slicing.left_over:
            yield (
                f"{where}: the last {slicing.left_over} entries of {name} were left out, they "
                f"fill no batch of {slicing.step}"
            )
    unused = set(members) - set(slicings) - ({labels.name} if labels else set())
    if unused:
        yield f"{where}: arrays that are no inputs were ignored: {', '.join(sorted(unused))}"


def checksums(members: Mapping[str, Member]) -> tuple[int, ...]:
    """The zip's checksums of all arrays, in file order."""
    return tuple(member.info.CRC for member in members.values())


def _content(members: Mapping[str, Member]) -> Iterator[object]:
    """Name, type, shape and checksum of every array; the zip stores the checksum."""
    for name in sorted(members):
        member = members[name]
        yield from (name, member.dtype.str, member.shape, member.fortran, member.info.CRC)


def _cuts(slicings: Mapping[str, Slicing]) -> Iterator[tuple[object, ...]]:
    for name in sorted(slicings):
        s = slicings[name]
        yield (name, str(s.spec), s.axis, s.step, s.drop_axis, s.add_axis)


def _check_batch_axes(batch_axes: Mapping[str, int], signature: Signature) -> None:
    unknown = [name for name in batch_axes if signature.input(name) is None]
    if unknown:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise UsageError(f"batch axis for unknown input {unknown[0]!r}", f"one of {names}")
