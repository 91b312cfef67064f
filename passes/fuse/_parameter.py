"""Constants of a normalization in the shape that its operator takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import Editor, label
from onnxopt_passes.fuse._algebra import float_type
from onnxopt_passes.fuse._normalization import Affine, Normalization


def parameter(
    editor: Editor, found: Normalization, affine: Affine, name: str, sizes: tuple[int, ...]
) -> ir.Value:
    """Factor or summand of a normalization over its last axes; the constant itself if it fits."""
    if affine.value is not None and affine.array.shape == sizes:
        return affine.value
    array = affine.array.reshape(affine.array.shape[-len(sizes) :])
    return _constant(editor, found, np.broadcast_to(array, sizes), name)


def channels(
    editor: Editor, found: Normalization, affine: Affine, name: str, size: int
) -> ir.Value:
    """Factor or summand of a normalization that varies along its axis 1 only."""
    if affine.value is not None and affine.array.shape == (size,):
        return affine.value
    return _constant(editor, found, np.broadcast_to(affine.array.reshape(-1), (size,)), name)


def _constant(
    editor: Editor, found: Normalization, array: npt.NDArray[np.float64], name: str
) -> ir.Value:
    dtype = float_type(found.nodes) or ir.DataType.FLOAT
    return editor.constant(found.last, f"{label(found.last)}/{name}", array.astype(dtype.numpy()))
