"""Which range of numbers each tensor's codes are to span.

``auto`` takes, of several ranges, the one whose codes are expected to err least: with a step ``s``
a number inside the range errs by ``s^2 / 12`` on average, one outside by its distance to the range,
and zero not at all, because it has a code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from onnxopt.calibrate import (
    EVERYTHING,
    Detail,
    Range,
    RangeMethod,
    Statistics,
    TensorStatistics,
    detail_for,
    value_range,
)
from onnxopt.targets import Int8Scheme
from onnxopt_passes.quantize._numbers import activation_encoding

Method = RangeMethod | Literal["auto"]
_PERCENTILES = (99.999, 99.99, 99.9)
"""What ``auto`` may cut off: rare values only. The range with the least error of all (``mse``) cuts
more, and outputs suffer: rare large values matter more to what follows than their number says."""


def ranges_of(
    statistics: Statistics, method: Method, percentile: float, scheme: Int8Scheme
) -> dict[str, Range]:
    """The range of each tensor, by name.

    Args:
        statistics: What the tensors hold.
        method: How a range follows from that; ``auto`` decides for each tensor.
        percentile: For ``method=percentile``.
        scheme: Which codes there are.
    """
    found = ((name, statistics[name]) for name in statistics)
    if method == "auto":
        return {name: least_error_range(tensor, scheme) for name, tensor in found}
    return {name: value_range(tensor, method, percentile) for name, tensor in found}


def detail_of(method: Method) -> Detail:
    """What must be known of a tensor for its range."""
    return EVERYTHING if method == "auto" else detail_for(method)


def least_error_range(tensor: TensorStatistics, scheme: Int8Scheme) -> Range:
    """The range with the least expected error; the widest of equally good ones."""
    return min(_options(tensor), key=lambda range_: expected_error(tensor, range_, scheme))


def expected_error(tensor: TensorStatistics, range_: Range, scheme: Int8Scheme) -> float:
    """Mean square error of a tensor's codes, from its histogram."""
    counts = tensor.histogram.counts
    if not counts.size:
        return 0.0
    encoding = activation_encoding(range_, scheme)
    ends = tensor.minimum, tensor.maximum
    lower, upper = (np.clip(edge, *ends) for edge in tensor.histogram.edges())
    middle = (lower + upper) / 2
    beyond = middle - np.clip(middle, *encoding.numbers())
    errors = np.where(beyond == 0, encoding.scale**2 / 12, beyond**2)
    errors[(lower <= 0) & (upper >= 0)] = 0.0
    return float(np.average(errors, weights=counts))


def _options(tensor: TensorStatistics) -> Iterator[Range]:
    yield value_range(tensor, "minmax")
    for percentile in _PERCENTILES:
        yield value_range(tensor, "percentile", percentile)
