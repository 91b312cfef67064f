"""Observers: exact extrema, non-finite values apart, merging in any order."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import get_args

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxopt.calibrate import Detail, RangeMethod, Statistics, merge, value_range
from onnxopt.calibrate.observing import TensorObserver

ANY_FLOAT = st.floats(width=32)
SAMPLES = st.lists(hnp.arrays(np.float32, st.integers(0, 9), elements=ANY_FLOAT), min_size=1)


def statistics_of(samples: list[np.ndarray], *, histogram: bool = True) -> Statistics:
    observer = TensorObserver(histogram=histogram, axis=0)
    for sample in samples:
        observer.add(sample)
    return Statistics(len(samples), {"t": observer.build()})


@given(SAMPLES, st.booleans(), st.data())
def test_permutations_and_splits_give_equal_statistics(
    samples: list[np.ndarray], histogram: bool, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(samples))
    cut = data.draw(st.integers(0, len(samples)))
    a, b = (statistics_of(part, histogram=histogram) for part in (order[:cut], order[cut:]))
    whole = statistics_of(samples, histogram=histogram)
    assert merge(a, b) == merge(b, a) == whole
    assert math.copysign(1, whole["t"].minimum) == math.copysign(1, merge(b, a)["t"].minimum)


@settings(max_examples=40, deadline=None)
@given(SAMPLES, st.data())
def test_every_method_reads_the_same_range_from_any_order(
    samples: list[np.ndarray], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(samples))
    cut = data.draw(st.integers(0, len(samples)))
    shards = merge(statistics_of(order[cut:]), statistics_of(order[:cut]))
    whole = statistics_of(samples)
    for method in get_args(RangeMethod):
        assert value_range(shards["t"], method) == value_range(whole["t"], method)


@given(SAMPLES, SAMPLES, SAMPLES)
def test_merging_is_associative(
    a: list[np.ndarray], b: list[np.ndarray], c: list[np.ndarray]
) -> None:
    x, y, z = statistics_of(a), statistics_of(b, histogram=False), statistics_of(c)
    assert merge(merge(x, y), z) == merge(x, merge(y, z)) == merge(z, merge(y, x))


@given(SAMPLES)
def test_counts_and_extrema_are_exact(samples: list[np.ndarray]) -> None:
    found = statistics_of(samples)["t"]
    values = np.concatenate(samples)
    finite = values[np.isfinite(values)]
    assert (found.count, found.nan_count) == (values.size, int(np.isnan(values).sum()))
    assert found.inf_count == int(np.isinf(values).sum())
    assert found.histogram.total == finite.size
    assert found.minimum == (finite.min() if finite.size else math.inf)
    assert found.maximum == (finite.max() if finite.size else -math.inf)
    tops = [sample[np.isfinite(sample)] for sample in samples]
    assert found.maximum_sum == sum(Fraction(float(part.max())) for part in tops if part.size)
    assert found.extrema_samples == sum(part.size > 0 for part in tops)
    assert found.is_finite == (values.size > 0 and finite.size == values.size)


def test_other_float_types_are_counted_as_float32() -> None:
    wide = statistics_of([np.array([1e300, -2.0, 0.1])])["t"]
    assert wide.dtype == "float64"
    assert (wide.minimum, wide.maximum) == (-2.0, 1e300)
    assert wide.histogram.total == 3
    half = statistics_of([np.array([1.5, -2.0], np.float16)])["t"]
    assert half.histogram == statistics_of([np.array([1.5, -2.0], np.float32)])["t"].histogram


def test_views_and_scalars_are_read_as_they_are() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert statistics_of([array.T[::2]])["t"].count == 6
    assert statistics_of([np.array(3.0, np.float32)])["t"].maximum == 3.0


def test_merging_keeps_the_tensors_of_either_side() -> None:
    a = Statistics(1, {"x": statistics_of([np.ones(2, np.float32)])["t"]}, {"y": "no", "z": "no"})
    b = Statistics(2, {"y": statistics_of([np.ones(3, np.float32)])["t"]}, {})
    both = merge(a, b)
    assert both == merge(b, a)
    assert (list(both), both.skipped, both.samples) == (["x", "y"], {"z": "no"}, 3)


def test_memory_is_declared() -> None:
    found = statistics_of([np.array([1, 1, 2, -3], np.float32)])
    assert found.nbytes == 3 * (2 + 8) + found["t"].channels.nbytes
    assert statistics_of([np.zeros((), np.float32)], histogram=False).nbytes == 0


def test_less_detail_is_a_part_of_more() -> None:
    more = statistics_of([np.array([1, 2], np.float32)])
    less = Detail(histogram=False)
    assert more.detail == Detail(channels={"t": 0})
    assert more.covers(less)
    assert more.covers(Detail(channels={"t": 0, "nowhere": 1}))
    assert not more.covers(Detail(channels={"t": 1}))
    narrow = more.narrowed(less)
    assert narrow["t"].channels is None and not narrow["t"].has_histogram
    assert not narrow.covers(Detail())
    assert (narrow["t"].minimum, narrow["t"].count) == (1, 2)


def test_few_samples_are_warned_of() -> None:
    few = Statistics(1, {})
    assert few.warnings[0].startswith("calibrated on 1 sample: ")
    assert not Statistics(16, {}).warnings
