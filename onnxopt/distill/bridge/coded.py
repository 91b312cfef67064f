"""Integer weights as the real numbers that are trained in their place."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
import torch
from onnx_ir import DataType

from onnxopt.distill.bridge.tensors import is_float, tensor_of, to_tensor
from onnxopt.graph import attribute, is_op

_RANGES = {
    DataType.INT2: (-2, 1),
    DataType.UINT2: (0, 3),
    DataType.INT4: (-8, 7),
    DataType.UINT4: (0, 15),
    DataType.INT8: (-128, 127),
    DataType.UINT8: (0, 255),
    DataType.INT16: (-(2**15), 2**15 - 1),
    DataType.UINT16: (0, 2**16 - 1),
    DataType.INT32: (-(2**31), 2**31 - 1),
}


def code_range(kind: DataType | None) -> tuple[int, int] | None:
    """The least and the greatest code of an integer type that QuantizeLinear knows."""
    return None if kind is None else _RANGES.get(kind)


@dataclass(frozen=True)
class Coded:
    """How an integer weight is coded.

    ``real = (code − zero_point)·scale`` going in, ``code = clip(round(real/scale) + zero_point)``
    coming back.

    Attributes:
        kind: The integer type.
        scale: The constant that holds the scale.
        zero_point: The constant that holds the zero point; None for 0.
        axis: Of one scale a channel or block.
        block: Entries of the axis that share a scale; 0 where there are no blocks.
    """

    kind: DataType
    scale: ir.Value
    zero_point: ir.Value | None
    axis: int
    block: int

    def real(self, codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """What the codes stand for, in the type of the scale."""
        wide = codes.to(torch.float64) - self._offset(codes)
        return (wide * self._spread(scale, codes)).to(scale.dtype)

    def codes(self, real: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """The nearest codes, as float64."""
        low, high = _RANGES[self.kind]
        wide = real.double() / self._spread(scale, real)
        return (wide.round() + self._offset(real)).clamp(low, high)

    def _spread(self, parameter: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return spread(parameter.detach().double(), like, self.axis, self.block)

    def _offset(self, like: torch.Tensor) -> torch.Tensor | int:
        tensor = None if self.zero_point is None else constant_of(self.zero_point)
        return 0 if tensor is None else self._spread(tensor, like)


def coding_of(value: ir.Value) -> Coded | None:
    """How a constant is coded that only DequantizeLinear reads, always alike; else None."""
    tensor = tensor_of(value)
    if tensor is None or code_range(DataType(tensor.dtype)) is None or not value.uses():
        return None
    found = {_read(node, index, DataType(tensor.dtype)) for node, index in value.uses()}
    return found.pop() if len(found) == 1 else None


def _read(node: ir.Node, index: int, kind: DataType) -> Coded | None:
    if index != 0 or not is_op(node, "DequantizeLinear"):
        return None
    scale = node.inputs[1]
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    if scale is None or (held := tensor_of(scale)) is None or not is_float(DataType(held.dtype)):
        return None
    if zero_point is not None and tensor_of(zero_point) is None:
        return None
    axis, block = (attribute(node, *pair) for pair in (("axis", 1), ("block_size", 0)))
    return Coded(kind, scale, zero_point, int(str(axis)), int(str(block)))


def constant_of(value: ir.Value) -> torch.Tensor | None:
    """What a constant holds, as a tensor of its own."""
    tensor = tensor_of(value)
    return None if tensor is None else to_tensor(tensor)


def spread(parameter: torch.Tensor, like: torch.Tensor, axis: int, block: int) -> torch.Tensor:
    """A per-tensor, per-axis or blocked parameter so that it broadcasts over ``like``."""
    if block and parameter.dim() == like.dim():
        wide = parameter.repeat_interleave(block, dim=axis)
        return wide.narrow(axis, 0, like.shape[axis])
    if parameter.numel() == 1:
        return parameter.reshape(())
    shape = [1] * like.dim()
    shape[axis] = -1
    return parameter.reshape(shape)
