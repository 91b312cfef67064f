"""The greatest absolute value of each channel of some tensors, on real data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.calibrate import tapped_values
from onnxopt.errors import DataError
from onnxopt.transform import Context


def channel_peaks(
    model: ir.Model, axes: Mapping[str, int], context: Context
) -> dict[str, npt.NDArray[np.float64]]:
    """float64 [channels] for each tensor, by name.

    Args:
        model: The float model.
        axes: The channels' axis of each tensor, by name.
        context: For the data.
    """
    data = context.calibration
    if data is None or not len(data):
        raise DataError("there is no calibration data", todo="give some with --data")
    peaks: dict[str, npt.NDArray[np.float64]] = {}
    for values in tapped_values(model, axes, data, threads=context.threads):
        _take_in(values, axes, peaks)
    return {name: found for name, found in peaks.items() if found.size}


def _take_in(
    values: Mapping[str, Any],
    axes: Mapping[str, int],
    peaks: dict[str, npt.NDArray[np.float64]],
) -> None:
    """Raise the peaks; none are left of a tensor whose number of channels varies."""
    for name, value in values.items():
        array = np.asarray(value)
        if array.dtype.kind != "f" or not -array.ndim <= axes[name] < array.ndim:
            peaks[name] = np.zeros(0)
            continue
        rows = np.moveaxis(np.abs(array), axes[name], -1)
        found = rows.reshape(-1, rows.shape[-1]).max(axis=0, initial=0.0).astype(np.float64)
        known = peaks.get(name, found)
        peaks[name] = np.maximum(known, found) if known.size == found.size else np.zeros(0)
