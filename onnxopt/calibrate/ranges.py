"""The range of values to represent: where calibration ends and quantization begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnxopt.calibrate.statistics import TensorStatistics
from onnxopt.errors import UsageError

RangeMethod = Literal["minmax", "percentile"]


@dataclass(frozen=True)
class Range:
    """A closed range of finite values."""

    low: float
    high: float


def value_range(
    tensor: TensorStatistics, method: RangeMethod = "minmax", percentile: float = 99.99
) -> Range:
    """The range of a tensor's finite values.

    ``minmax`` is exact. ``percentile`` keeps the middle ``percentile`` percent: half of the rest is
    cut from each end, interpolating as ``Histogram.quantile`` does.

    Raises:
        UsageError: ``percentile`` is not in (0, 100].
    """
    if not 0 < percentile <= 100:
        raise UsageError(f"percentile={percentile}", "more than 0 and at most 100")
    if not tensor.histogram.total:
        return Range(0.0, 0.0)
    low, high = tensor.minimum, tensor.maximum
    if method == "minmax":
        return Range(low, high)
    cut = (100.0 - percentile) / 200.0
    return Range(
        tensor.histogram.quantile(cut, low, high), tensor.histogram.quantile(1.0 - cut, low, high)
    )
