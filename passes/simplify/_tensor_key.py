"""Tells equal tensors by their bits."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import numpy as np
import onnx_ir as ir

_HEAD_BYTES = 1024


def shallow_key(tensor: ir.TensorProtocol) -> Hashable:
    """Type, shape and first bytes: what differs here is different, whatever the rest holds.

    Of a memory-mapped tensor this reads one page.
    """
    return (tensor.dtype, tuple(tensor.shape.numpy()), _head(tensor))


def digest(tensor: ir.TensorProtocol) -> bytes:
    """Hash of all bits: -0.0 is not 0.0, and a NaN equals only one of the same payload."""
    if tensor.dtype == ir.DataType.STRING:
        return hashlib.sha256(_text(tensor)).digest()
    return hashlib.sha256(_bytes(tensor)).digest()


def _head(tensor: ir.TensorProtocol) -> bytes:
    if tensor.dtype == ir.DataType.STRING:
        return _text(tensor)
    if tensor.dtype.bitwidth % 8:
        return tensor.tobytes()[:_HEAD_BYTES]
    flat = tensor.numpy().reshape(-1)
    return bytes(flat[: _HEAD_BYTES // flat.itemsize].tobytes())


def _bytes(tensor: ir.TensorProtocol) -> bytes | memoryview:
    if tensor.dtype.bitwidth % 8:
        return tensor.tobytes()
    return np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data


def _text(tensor: ir.TensorProtocol) -> bytes:
    """The strings, each with its length, so that no two lists read the same."""
    items = [item if isinstance(item, bytes) else str(item).encode() for item in _strings(tensor)]
    return b"".join(len(item).to_bytes(8, "little") + item for item in items)


def _strings(tensor: ir.TensorProtocol) -> list[bytes | str]:
    return list(tensor.numpy().reshape(-1))
