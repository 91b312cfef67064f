"""The error of 8-bit codes, pinned: distributions x methods x grids, measured on the values.

The figures are root mean square errors relative to the values' own root mean square, of seeded
samples. They may improve; a figure that grows by 3 % is a regression.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from onnxopt.calibrate import (
    Grid,
    Range,
    RangeMethod,
    TensorStatistics,
    expected_error,
    value_range,
)
from onnxopt.calibrate.observing import TensorObserver

METHODS: tuple[RangeMethod, ...] = ("minmax", "average", "percentile", "entropy", "mse")
GRIDS = {"uint8 asymmetric": Grid(256), "int8 symmetric": Grid(256, symmetric=True)}
PINNED: dict[tuple[str, str], tuple[float, ...]] = {
    ("normal", "uint8 asymmetric"): (0.008817, 0.01215, 0.008619, 0.008817, 0.008575),
    ("normal", "int8 symmetric"): (0.009366, 0.01209, 0.009063, 0.009026, 0.008926),
    ("laplace", "uint8 asymmetric"): (0.01502, 0.02043, 0.01566, 0.03565, 0.0146),
    ("laplace", "int8 symmetric"): (0.01575, 0.01879, 0.01481, 0.01586, 0.01481),
    ("half-normal", "uint8 asymmetric"): (0.004639, 0.01294, 0.004744, 0.004775, 0.004583),
    ("half-normal", "int8 symmetric"): (0.009358, 0.01449, 0.009163, 0.009358, 0.009081),
    ("one outlier", "uint8 asymmetric"): (0.09655, 0.5046, 0.5568, 0.5568, 0.09507),
    ("one outlier", "int8 symmetric"): (0.1868, 0.5049, 0.5567, 0.5568, 0.1778),
    ("bimodal", "uint8 asymmetric"): (0.002915, 0.002844, 0.002888, 0.002915, 0.00284),
    ("bimodal", "int8 symmetric"): (0.003766, 0.003662, 0.003724, 0.003766, 0.003653),
    ("constant", "uint8 asymmetric"): (0.0, 0.0, 0.0, 0.0, 0.0),
    ("constant", "int8 symmetric"): (0.0, 0.0, 0.0, 0.0, 0.0),
    ("zeros", "uint8 asymmetric"): (0.0, 0.0, 0.0, 0.0, 0.0),
    ("zeros", "int8 symmetric"): (0.0, 0.0, 0.0, 0.0, 0.0),
    ("tiny", "uint8 asymmetric"): (0.008817, 0.01215, 0.008636, 0.008817, 0.008597),
    ("tiny", "int8 symmetric"): (0.009366, 0.01209, 0.009058, 0.009366, 0.008926),
    ("huge", "uint8 asymmetric"): (0.008817, 0.01215, 0.008616, 0.008718, 0.008578),
    ("huge", "int8 symmetric"): (0.009366, 0.01209, 0.00906, 0.009026, 0.008936),
}
"""By distribution and grid: one figure for each of METHODS."""
EXACT = 1e-6  # codes that hold every value: nothing but float32's own rounding
SLACK = 1.03


@cache
def values_of(name: str) -> np.ndarray:
    rng = np.random.default_rng(7)
    normal = rng.standard_normal(20_000)
    made = {
        "normal": normal,
        "laplace": rng.laplace(size=20_000),
        "half-normal": np.maximum(normal, 0),
        "one outlier": np.append(normal, 100.0),
        "bimodal": np.concatenate([rng.normal(-3, 0.2, 10_000), rng.normal(5, 0.5, 10_000)]),
        "constant": np.full(20_000, -2.5),
        "zeros": np.zeros(20_000),
        "tiny": 1e-25 * normal,
        "huge": 1e25 * normal,
    }
    return rng.permutation(made[name]).astype(np.float32)


@cache
def statistics_of(name: str) -> TensorStatistics:
    observer = TensorObserver()
    for sample in np.array_split(values_of(name), 10):
        observer.add(sample)
    return observer.build()


def squared_error(values: np.ndarray, found: Range, grid: Grid) -> float:
    scale, lowest, highest = grid.codes(found.low, found.high)
    wide = values.astype(np.float64)
    codes = np.clip(np.rint(wide / scale), lowest, highest) if scale else 0
    return float(np.mean((wide - codes * scale) ** 2))


def relative(name: str, method: RangeMethod, grid: Grid) -> float:
    values = values_of(name)
    power = float(np.mean(values.astype(np.float64) ** 2)) or 1.0
    error = squared_error(values, value_range(statistics_of(name), method, grid=grid), grid)
    return float(np.sqrt(error / power))


@pytest.mark.parametrize(("name", "grid"), PINNED)
def test_the_error_is_what_it_was(name: str, grid: str) -> None:
    for method, pinned in zip(METHODS, PINNED[name, grid], strict=True):
        found = relative(name, method, GRIDS[grid])
        assert found <= max(pinned * SLACK, EXACT), method
        assert found >= pinned / SLACK, f"{method} has improved: pin {found:.4g}"


@pytest.mark.parametrize(("name", "grid"), PINNED)
def test_mse_is_the_best_of_all(name: str, grid: str) -> None:
    errors = [relative(name, method, GRIDS[grid]) for method in METHODS]
    assert errors[-1] <= min(errors) * 1.01 + EXACT


@pytest.mark.parametrize(("name", "grid"), PINNED)
def test_the_expected_error_is_the_one_there_is(name: str, grid: str) -> None:
    tensor = statistics_of(name)
    for method in METHODS:
        found = value_range(tensor, method, grid=GRIDS[grid])
        expected = expected_error(tensor, found.low, found.high, GRIDS[grid])
        actual = squared_error(values_of(name), found, GRIDS[grid])
        assert expected == pytest.approx(actual, rel=0.03, abs=1e-12 * float(tensor.maximum**2))
