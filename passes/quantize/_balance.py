"""Which scale a channel makes one scale a tensor do least harm, to activations and to weights.

A tensor's codes have one step ``Δ = max_c (p_c / s_c) / 255`` for all channels ``c`` with peaks
``p_c`` divided by ``s_c``; a reader multiplies that noise by ``s_c W_mc``. A reader's own codes
have a step ``δ_m = max_c (s_c |W_mc|) / 127`` an output; that noise is multiplied by ``p_c / s_c``.
Values are taken as spread evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt_passes.fuse._convolution import Convolution
from onnxopt_passes.quantize._chains import Layer

Vector = npt.NDArray[np.float64]
_SHARES = (0.25, 0.5, 0.75, 0.9, 1.0)
_LEAST = 1 / 256
_CODES = 255
_WEIGHT_CODES = 127


@dataclass(frozen=True)
class Balance:
    """A scale, and the expected noise with it as a share of that without."""

    scale: Vector
    noise: float


def balance(peaks: Vector, readers: Sequence[Layer]) -> Balance | None:
    """The best ``s_c = p_c^a / w_c^(1 - a)`` for shares ``a``; None where there is no noise.

    That is where all peaks are zero, or all weights that read them.

    ``w_c`` is the greatest weight that reads channel ``c``. Between weights alone and activations
    alone: Nagel et al. (2019) take a = 1/2, Xiao et al. (2022) let the user choose it.

    Args:
        peaks: Greatest absolute value of each channel.
        readers: The layers that read the tensor.
    """
    top = float(peaks.max(initial=0.0))
    if not top or not np.isfinite(top):
        return None
    floored = np.maximum(peaks, top * _LEAST)
    weights = [matrix for matrix in map(_matrix, readers) if matrix is not None]
    columns = [matrix.max(axis=(0, 2)) / max(matrix.max(), 1e-30) for matrix in weights]
    widest = np.maximum(np.max(columns, axis=0), _LEAST) if columns else np.ones_like(peaks)
    options = [_centred(floored**share / widest ** (1 - share)) for share in _SHARES]
    before = _noise(np.ones_like(peaks), floored, readers)
    if not before:
        return None
    noises = [_noise(scale, floored, readers) for scale in options]
    best = int(np.argmin(noises))
    return Balance(options[best], noises[best] / before)


def _centred(scale: Vector) -> Vector:
    """With a geometric mean of 1, in float32's precision."""
    made: Vector = (scale / np.exp(np.log(scale).mean())).astype(np.float32).astype(np.float64)
    return made


def _noise(scale: Vector, peaks: Vector, readers: Sequence[Layer]) -> float:
    """Expected noise of the readers' outputs over their signal, summed over readers."""
    step = (peaks / scale).max() / _CODES
    total = 0.0
    for reader in readers:
        matrix = _matrix(reader)
        if matrix is None:  # each channel by itself: its weight has a scale of its own
            total += float(np.mean((step * scale / peaks) ** 2))
            continue
        power = (matrix**2).sum(axis=2)
        signal = power @ peaks**2 + 1e-30
        of_tensor = step**2 * (power @ scale**2)
        steps = (matrix.max(axis=2) * scale).max(axis=1) / _WEIGHT_CODES
        of_weight = steps**2 * ((peaks / scale) ** 2).sum() * matrix.shape[2] / 12
        total += float(np.mean((of_tensor + of_weight) / signal))
    return total


def _matrix(layer: Layer) -> npt.NDArray[Any] | None:
    """Absolute weights as [outputs, inputs, taps]; None for one with several groups."""
    if not isinstance(layer, Convolution):
        return np.abs(layer.matrix()).T[:, :, np.newaxis]
    if layer.group > 1:
        return None
    weight = np.abs(layer.weight.numpy().astype(np.float64))
    shaped = weight.reshape(*weight.shape[:2], -1)
    return shaped.swapaxes(0, 1) if layer.transposed else shaped
