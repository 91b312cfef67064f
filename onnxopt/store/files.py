"""Model files and their external data as read-only buffers, and which paths may be opened."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnxopt.errors import ModelError
from onnxopt.guard import Limits, within

MAP_BYTES = 64 << 20
"""From this size on a model file is mapped, not read: mapped pages are no private memory."""


def open_model(path: Path, limits: Limits, *, map_bytes: int = MAP_BYTES) -> memoryview:
    """A model file's bytes.

    Raises:
        ModelError: The path is missing, no regular file, empty or not readable.
        LimitError: The file is larger than the limits allow.
    """
    size = _regular_size(path, "model")
    within("bytes in the model file", size, limits.file_bytes, "file_bytes")
    if not size:
        raise ModelError(f"model file {path} is empty", "an ONNX model")
    try:
        return memoryview(_map(path) if size >= map_bytes else path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error


class DataFolder:
    """The external data beside a model file, each file mapped once.

    A location is a relative path without ``..``. Links are followed when the file they lead to
    lies in the folder of the model, taken either as named or after following the model's own
    link. The second is how the Hugging Face cache stores models: both are links into one folder.
    """

    def __init__(self, model: Path) -> None:
        self._folder = model.parent
        self._homes = (model.parent.resolve(), model.resolve().parent)
        self._maps: dict[str, memoryview] = {}

    def read(self, location: str, offset: int, size: int) -> memoryview:
        """``size`` bytes at ``offset`` of the file at ``location``.

        Raises:
            ModelError: The file is missing, out of bounds or too short.
        """
        if location not in self._maps:
            self._maps[location] = self._open(location)
        data = self._maps[location]
        if offset < 0 or offset + size > len(data):
            raise ModelError(
                f"bytes {offset} to {offset + size} of external data {location!r}",
                f"a range inside its {len(data)} bytes",
            )
        return data[offset : offset + size]

    def _open(self, location: str) -> memoryview:
        names = PurePosixPath(location)
        escapes = names.is_absolute() or PureWindowsPath(location).anchor or ".." in names.parts
        if escapes or not names.name or "\0" in location:
            raise ModelError(
                f"external data location {location!r}", "a file in the model's own folder"
            )
        path = (self._folder / names).resolve()
        if not any(path.is_relative_to(home) for home in self._homes):
            raise ModelError(
                f"external data {location!r} is a link to {path}, outside the model's folder",
                "data beside the model",
                "copy the file there if you trust the model",
            )
        try:
            return memoryview(_map(path) if _regular_size(path, "external data") else b"")
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot read external data {path}: {error}") from error


def _regular_size(path: Path, role: str) -> int:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"cannot read {role} {path}: {reason}", "an existing file") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise ModelError(f"{role} {path} is {kind}", "a file")
    return found.st_size


def _map(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
