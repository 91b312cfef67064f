"""How much each weight matters, as whole numbers that sort: the same choice on every machine.

A weight that is zero already has key 0, any other 1 + the bits of its float32 score, which sort as
the scores do. NaN has the greatest key.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.transform import Context, Note
from onnxopt_passes.prune._activations import Vector, along, channel_strengths, with_known_inputs
from onnxopt_passes.prune._weights import Array, Prunable

Score = Literal["magnitude", "l1", "l2", "lamp", "activation"]
Floats = npt.NDArray[np.float32]
Keys = npt.NDArray[np.uint32]
_HALF = 16
_LOW = (1 << _HALF) - 1


def scored(
    model: ir.Model, weights: Sequence[Prunable], kind: Score, context: Context
) -> Generator[Note, None, tuple[Sequence[Prunable], Scorer]]:
    """The weights that can be scored so, and what scores them; notes on others.

    Raises:
        DataError: ``activation`` has no calibration data.
    """
    if kind != "activation":
        return weights, Scorer(kind, {})
    strengths = channel_strengths(model, weights, context)
    known = yield from with_known_inputs(weights, strengths)
    return known, Scorer(kind, strengths)


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores the weights of a model.

    Attributes:
        kind: ``magnitude`` is ``abs(w)``; ``l1`` and ``l2`` divide it by the weight tensor's mean
            magnitude or root mean square, so that layers compare; ``lamp`` is ``w² / Σ u²`` over
            all u of the tensor with ``abs(u) >= abs(w)`` (Lee et al. 2021, "Layer-adaptive
            Sparsity for the Magnitude-based Pruning"); ``activation`` is ``abs(w)`` times the root
            mean square of what it multiplies (Sun et al. 2023, "Wanda").
        inputs: Root mean square of each channel that layers read, by tensor name.
    """

    kind: Score
    inputs: Mapping[str, Vector]

    def scores(self, weight: Prunable) -> Floats:
        """float32 scores of the weight's shape."""
        size: Floats = np.abs(weight.array.astype(np.float32))
        match self.kind:
            case "magnitude":
                factor: Any = 1
            case "l1":
                factor = 1 / (float(_finite(size).mean()) or 1)
            case "l2":
                factor = 1 / (float(np.sqrt(np.square(_finite(size)).mean())) or 1)
            case "lamp":
                return _lamp(size)
            case "activation":
                factor = along(weight, self.inputs)
        made: Floats = size * np.asarray(factor, np.float32)
        return made

    def keys(self, weight: Prunable) -> Keys:
        """The scores as whole numbers."""
        return keys_of(self.scores(weight), weight.array)


def _finite(size: Floats) -> npt.NDArray[np.float64]:
    return np.where(np.isfinite(size), size, 0).astype(np.float64)


def _lamp(size: Floats) -> Floats:
    flat = np.square(_finite(size)).reshape(-1)
    order = np.argsort(flat, kind="stable")
    rest = np.cumsum(flat[order][::-1])[::-1]
    scores = np.zeros(flat.size, np.float32)
    scores[order] = flat[order] / np.maximum(rest, np.finfo(np.float64).tiny)
    return np.where(np.isfinite(size), scores.reshape(size.shape), size)


def keys_of(scores: Floats, array: Array) -> Keys:
    """Scores as whole numbers; 0 where ``array`` is."""
    bits = np.ascontiguousarray(scores, np.float32).view(np.uint32) & np.uint32(0x7FFFFFFF)
    made: Keys = np.where(array == 0, np.uint32(0), bits + np.uint32(1))
    return made


def least_keys(parts: Sequence[Keys], count: int) -> tuple[int, int]:
    """The bound of the ``count`` smallest of all keys: the key ``T`` of the last of them, and how
    many of those equal to ``T`` are among them.

    Two counts of half the bits each, which takes less memory and time than sorting.

    Args:
        parts: The keys, array by array.
        count: From 1 to the number of keys.
    """
    high = _histogram(keys.reshape(-1) >> _HALF for keys in parts)
    top = int(np.searchsorted(np.cumsum(high), count))
    left = count - int(high[:top].sum())
    low = _histogram(_lower_half(keys.reshape(-1), top) for keys in parts)
    bottom = int(np.searchsorted(np.cumsum(low), left))
    return top << _HALF | bottom, left - int(low[:bottom].sum())


def _lower_half(keys: Keys, top: int) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = keys[keys >> _HALF == top] & np.uint32(_LOW)
    return found


def _histogram(parts: Iterable[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    found = np.zeros(1 << _HALF, np.int64)
    for part in parts:
        found += np.bincount(part, minlength=1 << _HALF)
    return found
