"""Seeing one tensor sample by sample."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from onnxopt.calibrate.channels import ChannelStatistics, channels_of
from onnxopt.calibrate.histogram import NO_VALUES, HistogramBuilder
from onnxopt.calibrate.statistics import TensorStatistics

Values = npt.NDArray[np.floating]
_CHUNK = 1 << 17


class TensorObserver:
    """Takes in the values of one tensor and keeps their statistics only.

    Args:
        histogram: Whether to count values.
        axis: The axis of the channels to keep apart; None for none.
    """

    def __init__(self, *, histogram: bool = True, axis: int | None = None) -> None:
        self._dtype = ""
        self._ranks: set[int] = set()
        self._count = self._nans = self._infs = self._samples = 0
        self._minimum, self._maximum = math.inf, -math.inf
        self._sums = Fraction(0), Fraction(0)
        self._histogram = HistogramBuilder() if histogram else None
        self._channels = None if axis is None else ChannelStatistics.without_values(axis)

    def add(self, array: Values) -> None:
        """Take in the tensor's value in one sample, of any float type and shape."""
        self._dtype = max(self._dtype, array.dtype.name)
        self._ranks.add(array.ndim)
        self._count += array.size
        shaped = _without_halves(np.ascontiguousarray(array).reshape(array.shape))
        values, (low, high) = self._finite(shaped.reshape(-1))
        if self._channels is not None:
            all_finite = values.size == shaped.size
            found = channels_of(shaped, self._channels.axis, all_finite=all_finite)
            self._channels = self._channels.merge(found)
        if not values.size:
            return
        # + 0.0 because min and max do not order -0.0 and 0.0
        self._minimum = min(self._minimum, low) + 0.0
        self._maximum = max(self._maximum, high) + 0.0
        self._samples += 1
        self._sums = self._sums[0] + Fraction(low), self._sums[1] + Fraction(high)
        if self._histogram is not None:
            self._histogram.add(_as_float32(values))

    def build(self) -> TensorStatistics:
        """The statistics of all samples so far."""
        return TensorStatistics(
            dtype=self._dtype,
            ranks=tuple(sorted(self._ranks)),
            count=self._count,
            nan_count=self._nans,
            inf_count=self._infs,
            minimum=self._minimum,
            maximum=self._maximum,
            histogram=NO_VALUES if self._histogram is None else self._histogram.build(),
            extrema_samples=self._samples,
            minimum_sum=self._sums[0],
            maximum_sum=self._sums[1],
            channels=self._channels,
        )

    def _finite(self, values: Values) -> tuple[Values, tuple[float, float]]:
        """The finite values and their extrema; counts the others."""
        ends = _extrema(values)
        if all(map(math.isfinite, ends)) or not values.size:
            return values, ends
        self._nans += int(np.isnan(values).sum())
        self._infs += int(np.isinf(values).sum())
        finite: Values = values[np.isfinite(values)]
        return finite, _extrema(finite)


def _extrema(values: Values) -> tuple[float, float]:
    """Both ends, in parts that the cache still holds for the second look."""
    if not values.size:
        return math.inf, -math.inf
    parts = [values[at : at + _CHUNK] for at in range(0, values.size, _CHUNK)]
    ends = [(part.min(), part.max()) for part in parts]
    return float(np.min([low for low, _ in ends])), float(np.max([high for _, high in ends]))


def _without_halves(values: Values) -> Values:
    """Half precision as float32, exactly: numpy reduces it far faster."""
    return values if values.dtype.name in ("float32", "float64") else values.astype(np.float32)


def _as_float32(values: Values) -> npt.NDArray[np.float32]:
    if values.dtype == np.float32:
        made: npt.NDArray[np.float32] = values
        return made
    limit = float(np.finfo(np.float32).max)
    return np.clip(values, -limit, limit).astype(np.float32)
