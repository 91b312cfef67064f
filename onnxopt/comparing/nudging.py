"""A model and its inputs off by one rounding: how much rounding alone may move its outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.data import Feeds
from onnxopt.graph import constant

_FLOATS = (np.float16, np.float32, np.float64)


def nudge(model: ir.Model, seed: int) -> None:
    """Move every number of the model's float weights to one of the two beside it, in place.

    Zeros stay, and so do tensors of whole numbers (sizes, factors, bounds): those mean what they
    say, while other weights are rounded already.

    Args:
        model: What to change: initializers of its graph and subgraphs.
        seed: Of the directions.
    """
    for number, graph in enumerate(model.graphs()):
        for name, value in graph.initializers.items():
            array = constant(value)
            if array is None or array.dtype.type not in _FLOATS:
                continue
            rng = np.random.default_rng([seed, number, len(name), array.size])
            moved = nudged(array, rng)
            if moved is not array:
                value.const_value = ir.tensor(moved, name=name)


def nudged_feeds(feeds: Feeds) -> Feeds:
    """Inputs moved like weights; integers and text stay."""
    rng = np.random.default_rng(len(feeds))
    return {
        name: nudged(array, rng) if array.dtype.type in _FLOATS else array
        for name, array in feeds.items()
    }


def nudged(array: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """An array moved by one unit in the last place, up or down; itself where all are whole.

    Args:
        array: Floats of any shape.
        rng: Draws the directions.
    """
    finite = np.isfinite(array) & (array != 0)
    if not finite.any() or not (array[finite] != np.round(array[finite])).any():
        return array
    ends = np.where(rng.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
    return np.where(finite, np.nextafter(array, ends), array)
