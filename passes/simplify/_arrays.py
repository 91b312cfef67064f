"""numpy arrays as tensors of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[Any]


def as_tensor(
    array: Array, name: str | None, dtype: ir.DataType | None = None
) -> ir.TensorProtocol:
    """Wrap an array; text becomes the bytes that a model file holds.

    Args:
        array: The elements.
        name: Of the value it is for.
        dtype: Where the array's own type does not tell.
    """
    if array.dtype != object:
        return ir.Tensor(np.asarray(array, order="C"), name=name, dtype=dtype)
    encoded = np.empty(array.size, dtype=object)
    encoded[:] = [x if isinstance(x, bytes) else str(x).encode() for x in array.reshape(-1)]
    return ir.StringTensor(encoded.reshape(array.shape), name=name)
