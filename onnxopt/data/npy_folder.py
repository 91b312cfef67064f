"""Reads slices out of a folder of ``.npy`` files, mapped into memory, never unpickled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from onnxopt.data.npy import Member, check_budget, read_header
from onnxopt.errors import DataError


class NpyFolder:
    """The arrays of a folder, each under its file's name without ``.npy``.

    Raises:
        DataError: A file is no plain array.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        paths = sorted(folder.glob("*.npy"), key=lambda path: path.name)
        self.members: Mapping[str, Member] = {path.stem: _describe(path) for path in paths}
        self._mapped: dict[str, npt.NDArray[Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._mapped.clear()

    def path_of(self, name: str) -> Path:
        """The file of an array."""
        return self._folder / f"{name}.npy"

    def read(self, name: str) -> npt.NDArray[Any]:
        """A copy of a whole array."""
        return self._copy(self._map(name), name)

    def read_slice(self, name: str, axis: int, start: int, stop: int) -> npt.NDArray[Any]:
        """Entries ``start`` to ``stop`` along ``axis``, keeping the axis.

        Raises:
            LimitError: The slice is larger than one read may be.
        """
        return self._copy(self._map(name)[(slice(None),) * axis + (slice(start, stop),)], name)

    def _copy(self, part: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        check_budget(part.nbytes, f"{self._folder.name}: array {name!r}")
        return np.array(part, order="C", subok=False)

    def _map(self, name: str) -> npt.NDArray[Any]:
        if name not in self._mapped:
            self._mapped[name] = _mapped(self.path_of(name), self.members[name])
        return self._mapped[name]


def _describe(path: Path) -> Member:
    try:
        with path.open("rb") as stream:
            state = path.stat()
            stamp = (state.st_size, state.st_mtime_ns)
            return read_header(stream, path.stem, path.name, state.st_size, stamp)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def _mapped(path: Path, member: Member) -> npt.NDArray[Any]:
    if not math.prod(member.shape) or not member.dtype.itemsize:
        return np.empty(member.shape, member.dtype)
    order = "F" if member.fortran else "C"
    try:
        return np.memmap(path, member.dtype, "r", member.header_bytes, member.shape, order)  # type: ignore[call-overload,no-any-return]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} changed while it was in use") from error
