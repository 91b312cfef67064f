"""Tensors of a model as torch tensors and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from onnx_ir import DataType

_VIEWS = {
    DataType.BFLOAT16: (np.int16, torch.bfloat16),
    DataType.FLOAT8E4M3FN: (np.uint8, torch.float8_e4m3fn),
    DataType.FLOAT8E4M3FNUZ: (np.uint8, torch.float8_e4m3fnuz),
    DataType.FLOAT8E5M2: (np.uint8, torch.float8_e5m2),
    DataType.FLOAT8E5M2FNUZ: (np.uint8, torch.float8_e5m2fnuz),
}
_WIDENED = {
    DataType.INT4: np.int8,
    DataType.UINT4: np.uint8,
    DataType.INT2: np.int8,
    DataType.UINT2: np.uint8,
}
_TYPES = {
    DataType.FLOAT: torch.float32,
    DataType.DOUBLE: torch.float64,
    DataType.FLOAT16: torch.float16,
    DataType.INT8: torch.int8,
    DataType.INT16: torch.int16,
    DataType.INT32: torch.int32,
    DataType.INT64: torch.int64,
    DataType.UINT8: torch.uint8,
    DataType.UINT16: torch.uint16,
    DataType.UINT32: torch.uint32,
    DataType.UINT64: torch.uint64,
    DataType.BOOL: torch.bool,
    DataType.COMPLEX64: torch.complex64,
    DataType.COMPLEX128: torch.complex128,
    **{kind: torch_type for kind, (_, torch_type) in _VIEWS.items()},
}


def torch_type(kind: DataType | int) -> torch.dtype | None:
    """The torch type of an ONNX one; None where there is none (strings, types below a byte)."""
    return _TYPES.get(DataType(kind))


def to_tensor(tensor: ir.TensorProtocol) -> torch.Tensor | None:
    """A copy of a tensor; types below a byte are widened; None for strings and the like."""
    kind = DataType(tensor.dtype)
    if kind in _VIEWS:
        view, result = _VIEWS[kind]
        return torch.from_numpy(np.array(tensor.numpy(), copy=True).view(view)).view(result)
    if kind in _WIDENED:
        return torch.from_numpy(tensor.numpy().astype(_WIDENED[kind]))
    if kind not in _TYPES:
        return None
    return torch.from_numpy(np.array(tensor.numpy(), copy=True))


def to_array(tensor: torch.Tensor, kind: DataType) -> npt.NDArray[np.generic]:
    """The values of a tensor as an array of an ONNX type."""
    values = tensor.detach().cpu()
    if values.dtype == torch.bfloat16:
        values = values.float()
    return np.asarray(values.numpy()).astype(kind.numpy())


def is_float(kind: DataType | None) -> bool:
    """Whether gradients can flow to tensors of this type."""
    return kind in (DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16)


def tensor_of(value: ir.Value) -> ir.TensorProtocol | None:
    """What an initializer or a Constant's output holds; None where it is no dense tensor."""
    try:
        return ir.convenience.get_const_tensor(value)
    except ValueError:
        return None
