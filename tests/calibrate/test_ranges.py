"""Ranges: exact for min-max and average, two-sided for percentiles, optimal for mse."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from onnxopt.calibrate import (
    Grid,
    Range,
    RangeMethod,
    TensorStatistics,
    detail_for,
    value_range,
)
from onnxopt.calibrate.observing import TensorObserver
from onnxopt.errors import UsageError

METHODS: tuple[RangeMethod, ...] = get_args(RangeMethod)


def observed(*samples: np.ndarray, histogram: bool = True) -> TensorStatistics:
    observer = TensorObserver(histogram=histogram)
    for values in samples:
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


@pytest.mark.parametrize("method", METHODS)
def test_nothing_finite_gives_the_empty_range(method: RangeMethod) -> None:
    assert value_range(observed(np.array([np.nan, np.inf])), method) == Range(0.0, 0.0)
    assert value_range(observed(np.zeros(0)), method) == Range(0.0, 0.0)


@pytest.mark.parametrize("grid", [Grid(), Grid(symmetric=True), Grid(16)])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, -0.0, 2.5, -2.5, 1e-40, -3e38])
def test_a_constant_is_in_its_range(value: float, method: RangeMethod, grid: Grid) -> None:
    found = value_range(observed(np.full(9, value), np.full(3, value)), method, grid=grid)
    wanted = float(np.float32(value))
    assert min(found.low, 0) <= wanted <= max(found.high, 0)
    assert max(-found.low, found.high) == pytest.approx(abs(wanted), rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_values_that_are_not_finite_do_not_count(method: RangeMethod) -> None:
    values = np.random.default_rng(0).standard_normal(5000)
    spoiled = np.append(values, [np.nan, np.inf, -np.inf])
    assert value_range(observed(spoiled), method) == value_range(observed(values), method)


def test_the_average_is_that_of_the_samples_extrema() -> None:
    tensor = observed(np.array([-1.0, 4.0]), np.array([-2.0, 0.0]), np.array([np.nan]))
    assert value_range(tensor, "average") == Range(-1.5, 2.0)


def test_extrema_are_enough_for_some_methods_and_refused_by_the_others() -> None:
    tensor = observed(np.array([-1.0, 4.0]), histogram=False)
    for method in METHODS:
        if not detail_for(method).histogram:
            assert value_range(tensor, method) == Range(-1.0, 4.0)
            continue
        with pytest.raises(UsageError, match=f"{method} needs a histogram"):
            value_range(tensor, method)


@pytest.mark.parametrize("method", ["entropy", "mse"])
def test_ranges_stay_within_the_values(method: RangeMethod) -> None:
    rng = np.random.default_rng(0)
    for values in (rng.standard_normal(3000), rng.exponential(size=3000), rng.uniform(2, 3, 3000)):
        found = value_range(observed(values), method)
        assert min(values.min(), 0) - 1e-6 <= found.low <= 0
        assert 0 < found.high <= values.max() + 1e-6


def test_fewer_levels_clip_more() -> None:
    tensor = observed(np.random.default_rng(0).standard_normal(100_000))
    for method in ("mse", "entropy"):
        ends = [value_range(tensor, method, grid=Grid(levels)).high for levels in (16, 64, 256)]
        assert ends == sorted(ends)
        assert ends[0] < 0.8 * ends[-1]


@pytest.mark.parametrize(("levels", "step"), [(16, 0.3352), (32, 0.1881)])
def test_the_least_error_of_normal_values_is_where_theory_has_it(levels: int, step: float) -> None:
    """Steps of the best uniform quantizers of normal values: J. Max, 1960, table II."""
    tensor = observed(np.random.default_rng(0).standard_normal(1_000_000))
    found = value_range(tensor, "mse", grid=Grid(levels))
    assert (found.high - found.low) / (levels - 1) == pytest.approx(step, rel=0.02)


def test_entropy_does_not_let_an_outlier_take_the_codes() -> None:
    values = np.random.default_rng(0).standard_normal(50_000)
    for outlier in (1e2, 1e4, 1e6):
        for grid in (Grid(), Grid(symmetric=True)):
            tensor = observed(np.append(values, outlier))
            assert 3 < value_range(tensor, "entropy", grid=grid).high < 6


@pytest.mark.parametrize("levels", [0, 3, 7, -8])
def test_impossible_grids_are_usage_errors(levels: int) -> None:
    with pytest.raises(UsageError, match="levels"):
        Grid(levels)


@pytest.mark.parametrize("percentile", [0.0, -1.0, 100.5, float("nan")])
def test_impossible_percentiles_are_usage_errors(percentile: float) -> None:
    with pytest.raises(UsageError, match="percentile"):
        value_range(observed(np.ones(3)), "percentile", percentile)
