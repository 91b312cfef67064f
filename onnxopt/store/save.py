"""Model to file: whole or not at all, and the same bytes every time."""

from __future__ import annotations

import contextlib
import errno
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxopt.errors import LimitError, UsageError
from onnxopt.store.atomic import AtomicFile
from onnxopt.store.encode import MAX_BYTES, Encoded, Payload, encode, encode_external
from onnxopt.store.load import TEXT_SUFFIX
from onnxopt.store.tensors import release, to_bytes

EXTERNAL_THRESHOLD_BYTES = 1_500_000_000

_ALIGNMENT = 4096
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class SavedModel:
    """What ``save`` wrote.

    Attributes:
        path: The model file.
        data_path: The file that holds the weights; None where the model file does.
        size_bytes: Size of both.
        sha256: Digest of the model file.
        data_sha256: Digest of the data file.
    """

    path: Path
    data_path: Path | None
    size_bytes: int
    sha256: str
    data_sha256: str | None


def save(
    model: ir.Model,
    path: Path | str,
    *,
    external_threshold_bytes: int = EXTERNAL_THRESHOLD_BYTES,
) -> SavedModel:
    """Write a model; equal models give equal bytes.

    At any moment, also after a crash, ``path`` is the complete old model or the complete new one.
    A model over the threshold keeps its weights in a file beside it whose name is its content,
    ``<name>.<digest>.data``, so that no model ever points at another's data; the data file of the
    model replaced is removed last. A link at ``path`` is replaced, not followed.

    Args:
        model: What to write; it may have been loaded from ``path``.
        path: The model file; its folder must exist.
        external_threshold_bytes: From which size on the weights get a file of their own.

    Raises:
        ModelError: The model cannot be serialized or a weight cannot be read.
        LimitError: The disk is full; what was there before is untouched.
        UsageError: ``path`` cannot be written.
    """
    path = Path(path)
    if path.suffix == TEXT_SUFFIX:
        raise UsageError(f"{path} names ONNX text", "a binary model file, such as model.onnx")
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "the name of a file to write")
    encoded = encode(model)
    with _explained(path):
        old_data = _data_of(path)
        if encoded.size <= min(external_threshold_bytes, MAX_BYTES):
            saved = _save_whole(encoded, path)
        else:
            saved = _save_with_data(model, encoded.payloads, path)
        for data_path in old_data - {saved.data_path}:
            with contextlib.suppress(OSError):
                data_path.unlink()
    return saved


def _save_whole(encoded: Encoded, path: Path) -> SavedModel:
    with AtomicFile(path.parent) as file:
        for piece in encoded.pieces:
            if isinstance(piece, Payload):
                _write(file, piece.read())
            else:
                file.write(piece)
        file.commit(path)
    return SavedModel(path, None, file.size, file.sha256, None)


def _save_with_data(model: ir.Model, payloads: list[ir.TensorProtocol], path: Path) -> SavedModel:
    offsets: dict[ir.TensorProtocol, int] = {}
    with AtomicFile(path.parent) as data, AtomicFile(path.parent) as file:
        for tensor in payloads:
            if tensor not in offsets:
                data.align(_ALIGNMENT)
                offsets[tensor] = data.size
                _write(data, to_bytes(tensor))
        data_path = path.with_name(f"{path.name}.{data.sha256[:12]}.data")
        file.write(encode_external(model, data_path.name, offsets))
        known = data_path.exists()
        data.commit(data_path)
        try:
            file.commit(path)
        except OSError:
            if not known:
                data_path.unlink()
            raise
    return SavedModel(path, data_path, file.size + data.size, file.sha256, data.sha256)


def _write(file: AtomicFile, payload: memoryview) -> None:
    file.write(payload)
    release(payload)


def _data_of(path: Path) -> set[Path]:
    """The data files that ``save`` wrote for the model at ``path`` and that it still names."""
    name = re.compile(re.escape(path.name) + r"\.[0-9a-f]{12}\.data")
    found = {other for other in path.parent.iterdir() if name.fullmatch(other.name)}
    if not found or not path.is_file() or not path.stat().st_size:
        return set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        return {other for other in found if held.find(other.name.encode()) >= 0}


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NO_ROOM:
            raise LimitError(
                f"no room to write {path}: {reason}",
                "enough free space for the whole model",
                "free some or save elsewhere; what was there is untouched",
            ) from error
        raise UsageError(f"cannot write {path}: {reason}", "a writable file in a folder") from error
