"""Tensors as bytes: views over a file's bytes on the way in, the bytes to write on the way out."""

from __future__ import annotations

import contextlib
import math
import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxopt.errors import ModelError

PAYLOAD_BYTES = 1024
"""From this size on, a tensor's bytes are kept apart from the model around them."""

_TYPED_FIELDS: Mapping[str, str] = {
    **dict.fromkeys(["FLOAT", "COMPLEX64"], "float_data"),
    **dict.fromkeys(["DOUBLE", "COMPLEX128"], "double_data"),
    **dict.fromkeys(["UINT32", "UINT64"], "uint64_data"),
    "INT64": "int64_data",
}


def from_bytes(
    data: memoryview, dtype: ir.DataType, dims: tuple[int, ...], like: ir.TensorProtocol
) -> ir.TensorProtocol:
    """A read-only tensor over ``data``, without a copy.

    Args:
        data: Exactly the tensor's bytes as ONNX lays them out, little-endian and packed.
        dtype: The element type; no string.
        dims: The shape.
        like: Where name, doc string and metadata come from.

    Raises:
        ModelError: ``data`` is shorter or longer than ``dtype`` and ``dims`` say.
    """
    expected = payload_size(dtype, dims, like.name)
    if len(data) != expected:
        raise ModelError(
            f"tensor {like.name!r} has {len(data)} bytes of data",
            f"{expected} for {dtype.name.lower()}{list(dims)}",
        )
    storage = np.dtype(np.uint8) if dtype.bitwidth < 8 else dtype.numpy().newbyteorder("<")
    array = np.frombuffer(data, storage)
    if dtype.bitwidth < 8:
        return ir.PackedTensor(array, dtype, shape=ir.Shape(dims), **_described(like))
    return ir.Tensor(array.reshape(dims), dtype, shape=ir.Shape(dims), **_described(like))


def from_proto(proto: onnx.TensorProto, like: ir.TensorProtocol) -> ir.TensorProtocol:
    """A read-only tensor of the data a ``TensorProto`` holds itself.

    Raises:
        ModelError: The data is not what type and shape say.
    """
    dtype, dims = element_type(proto.data_type, proto.name), tuple(proto.dims)
    if proto.HasField("raw_data"):
        return from_bytes(memoryview(proto.raw_data), dtype, dims, like)
    size = payload_size(dtype, dims, proto.name)
    field = _TYPED_FIELDS.get(dtype.name, "int32_data")
    held, expected = len(getattr(proto, field)), _typed_length(dtype, math.prod(dims))
    if held != expected:
        raise ModelError(
            f"tensor {proto.name!r} has {held} values in {field}",
            f"{expected} for {dtype.name.lower()}{list(dims)}",
        )
    try:
        data = ir.serde.TensorProtoTensor(proto).tobytes() if size else b""
    except (ValueError, OverflowError) as error:
        raise ModelError(f"tensor {proto.name!r} cannot be read: {error}") from error
    return from_bytes(memoryview(data), dtype, dims, like)


def from_strings(tensor: ir.StringTensor) -> ir.TensorProtocol:
    """A string tensor that owns its strings.

    Raises:
        ModelError: There are more or fewer strings than its shape says.
    """
    strings, dims = tuple(tensor.string_data()), tensor.shape.numpy()
    if any(dim < 0 for dim in dims) or len(strings) != math.prod(dims):
        raise ModelError(
            f"tensor {tensor.name!r} has {len(strings)} strings", f"those of shape {list(dims)}"
        )
    return ir.StringTensor(strings, shape=ir.Shape(dims), **_described(tensor))


def element_type(number: int, name: str | None) -> ir.DataType:
    """The element type that ``TensorProto.data_type`` numbers."""
    try:
        dtype = ir.DataType(number)
    except ValueError:
        dtype = ir.DataType.UNDEFINED
    if dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING):
        raise ModelError(f"tensor {name!r} has element type {number}", "a type of numbers")
    return dtype


def payload_size(dtype: ir.DataType, dims: tuple[int, ...], name: str | None) -> int:
    """How many bytes a tensor takes in a file."""
    if any(dim < 0 for dim in dims):
        raise ModelError(f"tensor {name!r} has shape {list(dims)}", "no negative size")
    return (math.prod(dims) * dtype.bitwidth + 7) // 8


def to_bytes(tensor: ir.TensorProtocol) -> memoryview:
    """A tensor's bytes as ONNX lays them out, without a copy where memory already does.

    Raises:
        ModelError: The tensor's data cannot be had or is not of its declared size.
    """
    try:
        data = _storage(tensor)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"the data of tensor {tensor.name!r} cannot be read: {error}") from error
    if len(data) != tensor.nbytes:
        raise ModelError(f"tensor {tensor.name!r} has {len(data)} bytes", f"{tensor.nbytes}")
    return data


def release(data: memoryview) -> None:
    """Let go of the memory of a mapped file's pages; they come back from the file when read."""
    owner: object = data.obj
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        with contextlib.suppress(OSError, ValueError):
            owner.madvise(mmap.MADV_DONTNEED)


def _storage(tensor: ir.TensorProtocol) -> memoryview:
    if isinstance(tensor, ir.PackedTensor):
        array = tensor.numpy_packed()
    elif tensor.dtype.bitwidth < 8 or isinstance(tensor, ir.serde.TensorProtoTensor):
        return memoryview(tensor.tobytes())
    else:
        array = tensor.numpy()
    little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little_endian).reshape(-1).view(np.uint8).data


def _typed_length(dtype: ir.DataType, count: int) -> int:
    if dtype.name.startswith("COMPLEX"):
        return 2 * count
    if dtype.bitwidth in (2, 4):
        return (count * dtype.bitwidth + 7) // 8
    return count


def _described(like: ir.TensorProtocol) -> dict[str, Any]:
    return {
        "name": like.name,
        "doc_string": like.doc_string or None,
        "metadata_props": dict(like.metadata_props) or None,
    }
