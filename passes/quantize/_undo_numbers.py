"""What constants that hold codes stand for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import constant

Array = npt.NDArray[np.generic]
_NIBBLE = 4


def numbers_of(
    codes: Array, scale: Array, zero_point: Array | None, axis: int, block: int = 0
) -> npt.NDArray[np.float32]:
    """``scale * (codes - zero_point)`` as float32, of the codes' shape.

    Args:
        codes: Integers.
        scale: One number, one an index of ``axis``, or with blocks one each ``block`` of them.
        zero_point: Like the scale; None for 0.
        axis: Along which scales lie.
        block: Codes a scale; 0 for none.
    """
    real = codes.astype(np.float64)
    zero = np.zeros_like(scale) if zero_point is None else zero_point
    factors = [spread(part, codes.shape, axis, block) for part in (scale, zero)]
    return ((real - factors[1]) * factors[0]).astype(np.float32)


def spread(
    part: Array, shape: tuple[int, ...], axis: int, block: int = 0
) -> npt.NDArray[np.float64]:
    """Scales or zero points in a form that broadcasts against the codes."""
    values = part.astype(np.float64)
    if values.size == 1:
        return values.reshape(())
    if block:
        repeated = np.repeat(values, block, axis=axis)
        return np.take(repeated, range(shape[axis]), axis=axis)
    if values.ndim > 1:
        return values
    form = [1] * len(shape)
    form[axis] = -1
    return values.reshape(form)


def constant_of(node: ir.Node, at: int) -> Array | None:
    """The constant at a position of a node's inputs; None where it is absent or varies."""
    value = node.inputs[at] if at < len(node.inputs) else None
    return constant(value)


def unpacked(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Codes of 4 bits that lie two a byte along the last axis, the first in the low half."""
    if bits != _NIBBLE:
        return codes
    both = np.stack([codes & 0xF, codes >> _NIBBLE], axis=-1)
    return both.reshape(*codes.shape[:-1], -1)
