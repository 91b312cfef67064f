"""Files inside the pinned wheels that tasks take as their sources."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from onnxopt.errors import DataError
from onnxopt.progress import Progress
from onnxopt_models.fetch import fetch

MOST_BYTES = 1 << 20


def members(path: Path, suffixes: tuple[str, ...], least: int = 1) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files that end so, in order of name; nothing is unpacked or run.

    Args:
        path: The wheel.
        suffixes: The ends of names, in lower case, with the dot.
        least: Smaller files are left out, as are those above ``MOST_BYTES``.

    Raises:
        DataError: The wheel cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                fits = least <= info.file_size <= MOST_BYTES
                if fits and info.filename.lower().endswith(suffixes):
                    yield info.filename, archive.read(info)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def sources(
    names: tuple[str, ...], cache_dir: Path, progress: Progress
) -> Iterator[tuple[str, Path]]:
    """Each archive of the catalog with its path, fetched where it is not cached."""
    for name in names:
        yield name, fetch(name, cache_dir, progress)
