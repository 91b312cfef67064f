"""Reads arrays out of an ``.npz`` slice by slice, in memory bounded by the slice.

``numpy.load`` reads a whole member at once and trusts its header. Here a header is parsed under
a size budget, compared with the size of its zip member before any data is read, never unpickled,
and the data is read through the zip stream, or straight from the file where it is stored
uncompressed.
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from onnxopt.errors import DataError, LimitError

MAX_SLICE_BYTES = 2 << 30
"""The most that one read may return."""

_KEPT_BYTES = 16 << 20
_MAX_HEADER_BYTES = 10_000
_PREFIX_BYTES = {(1, 0): 10, (2, 0): 12}
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_CORRUPT = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Member:
    """One array in a file, described without reading its data.

    Attributes:
        stamp: Differs when the data does: a checksum, or size and time of change.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    header_bytes: int
    stamp: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the data, from the header."""
        return math.prod(self.shape) * self.dtype.itemsize


class Arrays(Protocol):
    """Named arrays on disk, open for reading."""

    @property
    def members(self) -> Mapping[str, Member]:
        """What it holds."""
        ...

    def read(self, name: str) -> npt.NDArray[Any]:
        """A copy of a whole array."""
        ...

    def read_slice(self, name: str, axis: int, start: int, stop: int) -> npt.NDArray[Any]:
        """Entries ``start`` to ``stop`` along ``axis``, keeping the axis."""
        ...


class Archive:
    """An open ``.npz``; use it as a context manager.

    Raises:
        DataError: The file is missing, no zip, or a member is no plain array.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._streams: dict[str, IO[bytes]] = {}
        self._whole: dict[str, npt.NDArray[Any]] = {}
        self._infos: dict[str, zipfile.ZipInfo] = {}
        try:
            self._zip = zipfile.ZipFile(path)
            self._file = path.open("rb")
        except FileNotFoundError as error:
            raise DataError(f"no file {path}") from error
        except _CORRUPT as error:
            raise DataError(f"{path} is no .npz file ({error})") from error
        try:
            self.members: Mapping[str, Member] = {m.name: m for m in self._describe()}
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file and every stream in it."""
        for stream in self._streams.values():
            stream.close()
        self._file.close()
        self._zip.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read(self, name: str) -> npt.NDArray[Any]:
        """A copy of a whole array; small ones are read only once."""
        member = self.members[name]
        if member.fortran or member.nbytes <= _KEPT_BYTES:
            return self._load_whole(member).copy()
        return self._block(member, 0, math.prod(member.shape)).reshape(member.shape)

    def read_slice(self, name: str, axis: int, start: int, stop: int) -> npt.NDArray[Any]:
        """Entries ``start`` to ``stop`` along ``axis``, keeping the axis.

        Raises:
            LimitError: The slice is larger than ``MAX_SLICE_BYTES``.
            DataError: The data is damaged.
        """
        member = self.members[name]
        outer = math.prod(member.shape[:axis])
        scattered = outer > 1 and self._infos[member.name].compress_type != zipfile.ZIP_STORED
        if member.fortran or scattered:
            index = (slice(None),) * axis + (slice(start, stop),)
            return np.ascontiguousarray(self._load_whole(member)[index])
        inner = math.prod(member.shape[axis + 1 :])
        shape = (*member.shape[:axis], stop - start, *member.shape[axis + 1 :])
        self._check_budget(member, math.prod(shape) * member.dtype.itemsize)
        pitch, length = member.shape[axis] * inner, (stop - start) * inner
        blocks = [self._block(member, row * pitch + start * inner, length) for row in range(outer)]
        data = blocks[0] if outer == 1 else np.concatenate(blocks or [self._block(member, 0, 0)])
        return data.reshape(shape)

    def _describe(self) -> list[Member]:
        infos = [info for info in self._zip.infolist() if info.filename.endswith(".npy")]
        return [self._header(info) for info in infos]

    def _header(self, info: zipfile.ZipInfo) -> Member:
        name = info.filename.removesuffix(".npy")
        where = f"{self._path.name}: array {name!r}"
        try:
            with self._zip.open(info) as stream:
                member = read_header(stream, name, where, info.file_size, (info.CRC,))
        except (*_CORRUPT, MemoryError) as error:
            raise DataError(f"{where} cannot be read ({error})") from error
        self._infos[name] = info
        return member

    def _block(self, member: Member, first: int, count: int) -> npt.NDArray[Any]:
        """``count`` elements from ``first`` in file order, as a writable flat array."""
        size = count * member.dtype.itemsize
        self._check_budget(member, size)
        if size == 0:
            return np.empty(count, member.dtype)
        buffer = bytearray(size)
        try:
            stream, start = self._stream(member)
            stream.seek(start + first * member.dtype.itemsize)
            filled = _fill(stream, buffer)
        except _CORRUPT as error:
            raise DataError(f"{self._path}: array {member.name!r} is damaged ({error})") from error
        if filled < size:
            raise DataError(f"{self._path}: array {member.name!r} ends early")
        return np.frombuffer(buffer, member.dtype)

    def _stream(self, member: Member) -> tuple[IO[bytes], int]:
        """A seekable stream that holds the member's data, and where the data begins in it."""
        info = self._infos[member.name]
        if info.compress_type == zipfile.ZIP_STORED:
            self._file.seek(info.header_offset)
            _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(self._file.read(_LOCAL_HEADER.size))
            local = _LOCAL_HEADER.size + name_bytes + extra_bytes
            return self._file, info.header_offset + local + member.header_bytes
        if member.name not in self._streams:
            self._streams[member.name] = self._zip.open(info)
        return self._streams[member.name], member.header_bytes

    def _load_whole(self, member: Member) -> npt.NDArray[Any]:
        if member.name not in self._whole:
            flat = self._block(member, 0, math.prod(member.shape))
            whole = flat.reshape(member.shape[::-1]).T if member.fortran else None
            self._whole[member.name] = flat.reshape(member.shape) if whole is None else whole
        return self._whole[member.name]

    def _check_budget(self, member: Member, size: int) -> None:
        check_budget(size, f"{self._path.name}: array {member.name!r}")


def check_budget(size: int, where: str) -> None:
    """Raise ``LimitError`` where one read would return more than ``MAX_SLICE_BYTES``."""
    if size > MAX_SLICE_BYTES:
        raise LimitError(
            f"{where} needs {size} bytes at once",
            f"at most {MAX_SLICE_BYTES}",
            "store it in C order with numpy.savez",
        )


def read_header(
    stream: IO[bytes], name: str, where: str, file_bytes: int, stamp: tuple[int, ...]
) -> Member:
    """Read what stands before the data, under a size budget.

    Args:
        stream: At the beginning of the ``.npy``.
        name: Of the array.
        where: Names it in errors.
        file_bytes: Size of the whole ``.npy``, which the header must agree with.
        stamp: Of the member.

    Raises:
        DataError: It is no plain array, or its size does not fit.
        LimitError: The header is too large.
    """
    try:
        size, raw = _raw_header(stream, where)
        shape, fortran, dtype = _parse_header(raw)
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError, RecursionError) as error:
        raise DataError(f"{where} has no valid .npy header ({error})") from error
    if dtype.hasobject:
        raise DataError(f"{where} holds Python objects", "plain numbers or strings")
    if dtype.names is not None or dtype.subdtype is not None:
        raise DataError(f"{where} has the structured type {dtype}", "plain numbers or strings")
    member = Member(name, shape, dtype, fortran, size, stamp)
    if min(shape, default=0) < 0 or member.nbytes + size != file_bytes:
        raise DataError(
            f"{where} declares {dtype}{list(shape)}, {member.nbytes} bytes",
            f"the {file_bytes - size} bytes that the file holds for it",
        )
    return member


def _raw_header(stream: IO[bytes], where: str) -> tuple[int, bytes]:
    """The header's length and bytes, magic string included; read only when it is small."""
    start = stream.read(8)
    if not start.startswith(npy_format.MAGIC_PREFIX):
        raise ValueError("no numpy array")
    version = (start[6], start[7])
    if version not in _PREFIX_BYTES:
        raise ValueError(f"format version {version}")
    length_bytes = stream.read(_PREFIX_BYTES[version] - 8)
    length = int.from_bytes(length_bytes, "little")
    if length > _MAX_HEADER_BYTES:
        raise LimitError(f"{where} has a header of {length} bytes", f"at most {_MAX_HEADER_BYTES}")
    raw = start + length_bytes + stream.read(length)
    return _PREFIX_BYTES[version] + length, raw


def _parse_header(raw: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    stream = io.BytesIO(raw)
    version = npy_format.read_magic(stream)
    read = (
        npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    )
    return read(stream)


def _fill(stream: IO[bytes], buffer: bytearray) -> int:
    """Read until the buffer is full or the stream ends; the number of bytes read."""
    view, filled = memoryview(buffer), 0
    while filled < len(view):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled
