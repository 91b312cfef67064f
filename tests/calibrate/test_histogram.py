"""The histogram: exact counts, order does not matter, quantiles within a bin of the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxopt.calibrate.histogram import Histogram, HistogramBuilder

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
VALUES = hnp.arrays(np.float32, st.integers(1, 60), elements=FINITE)


def histogram_of(*parts: np.ndarray) -> Histogram:
    builder = HistogramBuilder()
    for part in parts:
        builder.add(np.ascontiguousarray(part, np.float32))
    return builder.build()


@given(VALUES)
def test_every_value_lies_between_the_edges_of_its_bin(values: np.ndarray) -> None:
    found = histogram_of(values)
    lower, upper = found.edges()
    assert found.total == values.size
    assert np.all(np.diff(found.bins.astype(int)) > 0)
    assert np.all(lower[1:] >= upper[:-1])
    for count, low, high in zip(found.counts, lower, upper, strict=True):
        assert np.sum((values >= low) & (values <= high)) >= count


@given(VALUES, st.randoms(use_true_random=False))
def test_order_and_grouping_do_not_matter(values: np.ndarray, random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    parts = np.array_split(np.array(shuffled, np.float32), 3)
    merged = histogram_of(parts[0]).merge(histogram_of(parts[1])).merge(histogram_of(parts[2]))
    assert merged == histogram_of(values) == histogram_of(*parts)


@given(VALUES, st.floats(0, 1))
def test_a_quantile_is_within_a_bin_of_the_exact_one(values: np.ndarray, q: float) -> None:
    low, high = float(values.min()), float(values.max())
    found = histogram_of(values).quantile(q, low, high)
    ordered = np.sort(values.astype(np.float64))
    below = int(np.clip(np.ceil(q * values.size), 1, values.size)) - 1
    exact, margin = ordered[below], abs(ordered[below]) * 2**-7 + 1e-37
    assert exact - margin <= found <= exact + margin
    assert low <= found <= high


def test_quantiles_reach_from_the_least_value_to_the_greatest() -> None:
    values = np.array([-3.0, -1.0, 0.0, 0.5, 7.25], np.float32)
    found = histogram_of(values)
    assert found.quantile(0.0, -3.0, 7.25) == -3.0
    assert found.quantile(1.0, -3.0, 7.25) == 7.25


def test_quantiles_spread_a_bin_evenly() -> None:
    found = histogram_of(np.full(100, 1.0, np.float32))  # its bin is [1, 1 + 2**-7)
    assert found.quantile(0.25, 1.0, 1.0 + 2**-7) == pytest.approx(1.0 + 0.25 * 2**-7)
    assert found.quantile(0.25, 1.0, 1.0) == 1.0


def test_quantiles_of_a_normal_sample_are_close() -> None:
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    found = histogram_of(values)
    for q in (0.0005, 0.05, 0.3, 0.7, 0.9995):
        exact = float(np.quantile(values, q))
        assert found.quantile(q, -9.0, 9.0) == pytest.approx(exact, rel=0.008)


def test_tiny_values_do_not_cost_more_room_than_their_bins() -> None:
    found = histogram_of(np.array([0.0, -0.0, 1e-38, 1.0, -1.0], np.float32))
    assert found.bins.size == 5
    assert found.total == 5
