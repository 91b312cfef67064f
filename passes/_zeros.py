"""Values that are known to hold zeros only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import constant, is_op

_KEEPING = (
    *("Cast", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"),
    *("Tile", "Transpose", "Unsqueeze"),
)
"""Their outputs hold elements of their first input."""

Resolve = Callable[[ir.Value], ir.Value]


def is_zero(
    value: ir.Value | None, *, resolve: Resolve = lambda v: v, negative: bool = False
) -> bool:
    """Whether all elements are zero.

    Args:
        value: A constant, or made by ConstantOfShape or Expand, perhaps cut, joined and put in
            another order after that.
        resolve: What stands for a value, where more is known of that.
        negative: Whether -0 will do, too.
    """
    while value is not None:
        value = resolve(value)
        array, maker = constant(value), value.producer()
        if array is not None:
            return array.dtype.kind in "fiu" and _holds_zeros(array, negative)
        if is_op(maker, "ConstantOfShape") and maker is not None:
            fill = maker.attributes.get("value")
            if fill is None or fill.is_ref():
                return fill is None
            return _holds_zeros(fill.as_tensor().numpy(), negative)
        if is_op(maker, "Concat") and maker is not None:
            return all(is_zero(v, resolve=resolve, negative=negative) for v in maker.inputs)
        value = maker.inputs[0] if is_op(maker, *_KEEPING) and maker is not None else None
    return False


def _holds_zeros(array: npt.NDArray[np.generic], negative: bool) -> bool:
    return not np.any(array if negative else array.reshape(-1).view(np.uint8))
