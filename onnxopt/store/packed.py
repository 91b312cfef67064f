"""How large a model is as a file, and how far a file compresses."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.store.encode import Payload, encode
from onnxopt.store.tensors import release

_LEVEL = 6


@dataclass(frozen=True)
class FileSize:
    """Bytes of a saved model.

    Attributes:
        plain_bytes: As it is.
        zlib_bytes: After zlib at its usual level, as in zip and gzip files and what servers send.
    """

    plain_bytes: int
    zlib_bytes: int


def file_size(model: ir.Model) -> FileSize:
    """Serialize and compress a model, keeping none of it.

    Raises:
        ModelError: A weight's data cannot be read.
    """
    encoded = encode(model)
    packer, packed = zlib.compressobj(_LEVEL), 0
    for piece in encoded.pieces:
        data = piece.read() if isinstance(piece, Payload) else memoryview(piece)
        packed += len(packer.compress(data))
        if isinstance(piece, Payload):
            release(data)
    return FileSize(encoded.size, packed + len(packer.flush()))
