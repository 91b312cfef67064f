"""Data from a folder of images: subfolders, or a table beside them, are the labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy.typing as npt

from onnxopt.data.check import check_feeds
from onnxopt.data.dataset import Sample, digest
from onnxopt.data.options import LABELS, DataOptions
from onnxopt.data.picture import PictureInput
from onnxopt.data.picture_input import fixed_values, picture_input
from onnxopt.data.preprocess import Preprocess
from onnxopt.data.rows import hash_files, open_csv, parse_labels
from onnxopt.errors import DataError
from onnxopt.signature import Signature

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class ImageSource:
    """One picture a sample, decoded when its turn comes."""

    root: Path
    files: tuple[str, ...]
    items: Sequence[str]
    labels: tuple[object, ...] | None
    picture: PictureInput
    name: str
    constants: Mapping[str, npt.NDArray[Any]]
    signature: Signature
    notes: tuple[str, ...] = ()
    is_random: bool = False

    @property
    def origin(self) -> str:
        """The folder."""
        return str(self.root)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the files' bytes, names and labels, and the preprocessing."""
        hashes = hash_files(self.root / file for file in self.files)
        labels = self.labels or ()
        return digest("images", self.picture, *self.files, *self.items, *hashes, *map(repr, labels))

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        for index in range(len(self.files)) if indices is None else indices:
            file = self.files[index]
            constants = {name: value.copy() for name, value in self.constants.items()}
            feeds = {**constants, self.name: self.picture.read(self.root / file)}
            label = None if self.labels is None else self.labels[index]
            yield Sample(check_feeds(feeds, self.signature, file), label, self.items[index])


def open_images(
    folder: Path, signature: Signature, steps: Preprocess, options: DataOptions
) -> ImageSource:
    """Open a folder of pictures.

    Args:
        folder: With one subfolder a class (the label is its place in sorted order, or its name
            where all are numbers), or with the pictures themselves and at will ``LABELS.csv``,
            a table of ``file`` and ``label``.
        signature: Of the model, for one picture a call.
        steps: How a picture becomes an input.
        options: Name of the table, and of its column of source items; without one each file is
            its own.

    Raises:
        DataError: There are no images, or the table does not fit them.
        UsageError: The preprocessing does not fit the model.
    """
    spec, picture = picture_input(signature, steps)
    constants = fixed_values(signature, steps, spec.name)
    table = folder / f"{options.labels}.csv"
    if table.is_file() or options.labels != LABELS or options.items is not None:
        found = _from_table(folder, table, options.items)
    else:
        found = _from_folders(folder)
    return ImageSource(
        root=folder,
        files=found.files,
        items=found.items or found.files,
        labels=found.labels,
        picture=picture,
        name=spec.name,
        constants=constants,
        signature=signature,
        notes=found.notes,
    )


def images_in(folder: Path) -> list[Path]:
    """The pictures anywhere below, in order of path; hidden files are left out."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


@dataclass(frozen=True)
class _Found:
    files: tuple[str, ...]
    labels: tuple[object, ...] | None = None
    notes: tuple[str, ...] = ()
    items: tuple[str, ...] | None = None


def _from_folders(folder: Path) -> _Found:
    images = images_in(folder)
    if not images:
        raise DataError(f"folder {folder} holds no images", f"files {', '.join(sorted(SUFFIXES))}")
    parts = [path.relative_to(folder).parts for path in images]
    files = tuple(str(PurePosixPath(*part)) for part in parts)
    loose = next((part[0] for part in parts if len(part) == 1), None)
    if all(len(part) == 1 for part in parts):
        return _Found(files)
    if loose is not None:
        raise DataError(
            f"folder {folder} holds images beside its subfolders ({loose}), so it is not clear "
            "whether these are labels",
            "all images in subfolders, or none",
        )
    classes = _classes(folder, {part[0] for part in parts})
    shown = ", ".join(f"{label} = {name}" for name, label in list(classes.items())[:_SHOWN])
    more = ", …" if len(classes) > _SHOWN else ""
    note = f"{folder}: labels are the subfolders in sorted order: {shown}{more}"
    numbers = all(str(label) == name for name, label in classes.items())
    labels = tuple(classes[part[0]] for part in parts)
    return _Found(files, labels, () if numbers else (note,))


def _classes(folder: Path, filled: set[str]) -> dict[str, int]:
    """Subfolder to label: its number where all names are numbers, else its place."""
    present = {p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")}
    empty = sorted(present - filled)
    if empty:
        raise DataError(f"subfolder {folder / empty[0]} holds no images", "some for each class")
    if all(name.isascii() and name.isdigit() for name in present):
        return {name: int(name) for name in sorted(present, key=int)}
    return {name: at for at, name in enumerate(sorted(present))}


def _from_table(folder: Path, table: Path, items: str | None) -> _Found:
    csv = open_csv(table)
    file_at, label_at = csv.position("file"), csv.label_position(LABELS)
    if label_at is None:
        label_at = csv.position("label")
    item_at = file_at if items is None else csv.position(items)
    rows = tuple(csv.rows())
    if not rows:
        raise DataError(f"{table} lists no images")
    files = tuple(row.cells[file_at].strip() for row in rows)
    for row, file in zip(rows, files, strict=True):
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or not (folder / file).is_file():
            raise DataError(f"{row.where}: no file {file!r} in {folder}")
    kind = parse_labels((row.where, row.cells[label_at]) for row in rows)
    listed = {folder / file for file in files}
    unlisted = [path for path in images_in(folder) if path not in listed]
    note = f"{folder}: {len(unlisted)} images that {table.name} does not list were left out"
    return _Found(
        files=files,
        labels=tuple(kind(row.cells[label_at]) for row in rows),
        notes=(note,) if unlisted else (),
        items=tuple(row.cells[item_at].strip() for row in rows),
    )
