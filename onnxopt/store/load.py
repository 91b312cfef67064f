"""Any source to a model."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import EncodeError

from onnxopt.errors import LimitError, ModelError
from onnxopt.guard import DEFAULT_LIMITS, Limits, printable, within
from onnxopt.store.decode import decode
from onnxopt.store.files import DataFolder, open_model
from onnxopt.store.text import from_text

Source = Path | str | bytes | onnx.ModelProto | ir.Model

TEXT_SUFFIX = ".onnxtxt"


def load(source: Source, *, limits: Limits = DEFAULT_LIMITS) -> ir.Model:
    """Load and check a model.

    Weights are read-only views: of the bytes given, of a small file's bytes or of the mapped file
    where it is large, and of mapped external data. A file must therefore not be changed in place
    while a model loaded from it is in use; ``save`` never does.

    Args:
        source: A path (``.onnxtxt`` is ONNX text), serialized bytes, a ``ModelProto``, or an
            onnx_ir model, which is returned as it is.
        limits: What to refuse.

    Raises:
        ModelError: The source is missing, no ONNX model or not a valid one.
        LimitError: It is larger than the limits allow.
    """
    if isinstance(source, ir.Model):
        return source
    if isinstance(source, onnx.ModelProto):
        return decode(memoryview(_serialized(source)), "the ModelProto", None, limits)
    if isinstance(source, bytes):
        within("bytes in the model", len(source), limits.file_bytes, "file_bytes")
        return decode(memoryview(source), "the bytes given", None, limits)
    path = Path(source)
    data = open_model(path, limits)
    if path.suffix == TEXT_SUFFIX:
        return from_text(_text(data, path), str(path), limits=limits)
    return decode(data, printable(str(path)), DataFolder(path), limits)


def _serialized(proto: onnx.ModelProto) -> bytes:
    try:
        data: bytes = proto.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise LimitError(
            "a ModelProto over 2 GiB", "a smaller one", "save it with external data and load that"
        ) from error
    return data


def _text(data: memoryview, path: Path) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is no UTF-8 text: {error.reason}", "ONNX text") from error
