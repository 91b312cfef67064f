"""The range of values to represent: where calibration ends and quantization begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnxopt.calibrate.detail import EVERYTHING, EXTREMA, Detail
from onnxopt.calibrate.entropy import least_divergence_ends
from onnxopt.calibrate.grids import Grid, Spread
from onnxopt.calibrate.squared_error import least_error_ends
from onnxopt.calibrate.statistics import TensorStatistics
from onnxopt.errors import UsageError

RangeMethod = Literal["minmax", "average", "percentile", "entropy", "mse"]
EIGHT_BITS = Grid()


@dataclass(frozen=True)
class Range:
    """A closed range of finite values."""

    low: float
    high: float


def detail_for(method: RangeMethod) -> Detail:
    """What calibration has to write down for a method."""
    return EXTREMA if method in ("minmax", "average") else EVERYTHING


def value_range(
    tensor: TensorStatistics,
    method: RangeMethod = "minmax",
    percentile: float = 99.99,
    grid: Grid = EIGHT_BITS,
) -> Range:
    """The range of a tensor's finite values that codes are to span; [0, 0] where there are none.

    - ``minmax``: from the least value to the greatest, exact.
    - ``average``: from the mean of the samples' least values to the mean of their greatest ones,
      rounded once.
    - ``percentile``: the middle ``percentile`` percent: half of the rest is cut from each end,
      interpolating as ``Histogram.quantile`` does.
    - ``entropy``: what keeps the most information (Migacz, 2017); holds zero.
    - ``mse``: the least expected squared error of the codes; holds zero.

    Args:
        tensor: The statistics.
        method: The method.
        percentile: For ``percentile``.
        grid: The codes there will be; for ``entropy`` and ``mse``.

    Raises:
        UsageError: ``percentile`` is not in (0, 100], the method is none of these, or it needs a
            histogram that was not asked for when the statistics were collected.
    """
    if not 0 < percentile <= 100:
        raise UsageError(f"percentile={percentile}", "more than 0 and at most 100")
    if tensor.minimum > tensor.maximum:
        return Range(0.0, 0.0)
    if detail_for(method).histogram and not tensor.has_histogram:
        raise UsageError(f"the method {method} needs a histogram", "statistics collected with one")
    match method:
        case "minmax":
            return Range(tensor.minimum, tensor.maximum)
        case "average":
            return _average(tensor)
        case "percentile":
            return _middle(tensor, percentile)
        case "entropy":
            return Range(*least_divergence_ends(Spread(tensor), grid))
        case "mse":
            return Range(*least_error_ends(Spread(tensor), grid))


def _average(tensor: TensorStatistics) -> Range:
    samples = tensor.extrema_samples
    return Range(float(tensor.minimum_sum / samples), float(tensor.maximum_sum / samples))


def _middle(tensor: TensorStatistics, percentile: float) -> Range:
    cut = (100.0 - percentile) / 200.0
    ends = tensor.minimum, tensor.maximum
    low, high = (tensor.histogram.quantile(share, *ends) for share in (cut, 1.0 - cut))
    return Range(low, high)
