"""Ranges: exact for min-max, two-sided for percentiles."""

from __future__ import annotations

import numpy as np
import pytest

from onnxopt.calibrate import Range, TensorStatistics, value_range
from onnxopt.calibrate.statistics import TensorObserver
from onnxopt.errors import UsageError


def observed(values: np.ndarray) -> TensorStatistics:
    observer = TensorObserver()
    observer.add(values.astype(np.float32))
    return observer.build()


def test_min_max_is_exact() -> None:
    assert value_range(observed(np.array([-0.3, 2.0]))) == Range(float(np.float32(-0.3)), 2.0)


def test_percentile_cuts_half_of_the_rest_from_each_end() -> None:
    values = np.linspace(-1, 1, 100_001)
    found = value_range(observed(values), "percentile", 90.0)
    assert found.low == pytest.approx(-0.9, rel=0.01)
    assert found.high == pytest.approx(0.9, rel=0.01)


def test_percentile_of_everything_is_min_max() -> None:
    tensor = observed(np.array([-5.0, 0.0, 1.0, 3.5]))
    assert value_range(tensor, "percentile", 100.0) == value_range(tensor)


def test_percentile_drops_an_outlier_that_min_max_keeps() -> None:
    values = np.append(np.linspace(0, 1, 99_999), 1000.0)
    assert value_range(observed(values)).high == 1000.0
    assert value_range(observed(values), "percentile", 99.9).high == pytest.approx(1.0, rel=0.01)


def test_nothing_finite_gives_the_empty_range() -> None:
    assert value_range(observed(np.array([np.nan, np.inf]))) == Range(0.0, 0.0)


@pytest.mark.parametrize("percentile", [0.0, -1.0, 100.5, float("nan")])
def test_impossible_percentiles_are_usage_errors(percentile: float) -> None:
    with pytest.raises(UsageError, match="percentile"):
        value_range(observed(np.ones(3)), "percentile", percentile)
