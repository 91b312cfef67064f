"""Data from a folder of ``.npz`` files, one sample each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from onnxopt.data.arrays import content, label_member, plain
from onnxopt.data.check import check_feeds, check_names
from onnxopt.data.dataset import Sample, digest
from onnxopt.data.npy import Archive
from onnxopt.data.options import LABELS
from onnxopt.errors import DataError
from onnxopt.signature import Signature


@dataclass(frozen=True, eq=False)
class NpzFolderSource:
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
                parts += [path.name, *content(archive.members)]
        return digest(*parts)

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        paths = self.paths if indices is None else [self.paths[i] for i in indices]
        return map(self._sample, paths)

    def _sample(self, path: Path) -> Sample:
        with Archive(path) as archive:
            check_names(archive.members, self.signature, path.name)
            arrays = {spec.name: archive.read(spec.name) for spec in self.signature.inputs}
            member = label_member(archive.members, self.labels, self.signature, path.name)
            label = None if member is None else plain(archive.read(member.name))
        return Sample(check_feeds(arrays, self.signature, path.name), label, path.name)


def open_npz_folder(path: Path, signature: Signature, *, labels: str = LABELS) -> NpzFolderSource:
    """Open a folder of ``.npz`` files.

    Raises:
        DataError: It holds none.
    """
    paths = npz_files(path)
    if not paths:
        raise DataError(f"folder {path} holds no .npz files", "one file for each sample")
    return NpzFolderSource(paths, signature, labels, str(path))


def npz_files(folder: Path) -> tuple[Path, ...]:
    """The ``.npz`` files of a folder, in order of name."""
    return tuple(sorted(folder.glob("*.npz"), key=lambda path: path.name))
