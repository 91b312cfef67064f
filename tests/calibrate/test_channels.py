"""Channels: numpy's numbers, values that are not finite left out, tensors that do not fit named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxopt.calibrate import ChannelStatistics
from onnxopt.calibrate.observing import TensorObserver

ANY_FLOAT = st.floats(width=32)
SAMPLES = st.lists(
    hnp.arrays(
        np.float32, st.tuples(st.just(1), st.just(3), st.integers(0, 4)), elements=ANY_FLOAT
    ),
    min_size=1,
    max_size=6,
)


def channels_of(samples: list[np.ndarray], axis: int = 1) -> ChannelStatistics:
    observer = TensorObserver(axis=axis)
    for sample in samples:
        observer.add(sample)
    found = observer.build().channels
    assert found is not None
    return found


def samples(shape: tuple[int, ...], count: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((2, 3, 4, 5), 1), ((6, 3), 1), ((6, 3), -1), ((2, 5, 3), -1), ((3,), 0), ((2, 3, 7), 1)],
)
def test_they_are_those_of_numpy(shape: tuple[int, ...], axis: int) -> None:
    values = samples(shape)
    found = channels_of(values, axis)
    rows = np.concatenate([np.moveaxis(v, axis, 0).reshape(3, -1) for v in values], 1)
    assert (found.axis, found.lengths, found.fits) == (axis, (3,), True)
    assert np.array_equal(found.minimum, rows.min(1))
    assert np.array_equal(found.maximum, rows.max(1))
    assert np.array_equal(found.counts, [rows.shape[1]] * 3)
    assert found.means() == pytest.approx(rows.astype(np.float64).mean(1), rel=1e-12)


@given(SAMPLES, st.data())
def test_order_and_grouping_change_no_bit(values: list[np.ndarray], data: st.DataObject) -> None:
    order = data.draw(st.permutations(values))
    cut = data.draw(st.integers(0, len(values)))
    a, b, whole = channels_of(order[:cut]), channels_of(order[cut:]), channels_of(values)
    assert a.merge(b) == b.merge(a) == whole
    assert whole.means().tobytes() == b.merge(a).means().tobytes()
    assert np.array_equal(np.signbit(whole.minimum), np.signbit(b.merge(a).minimum))


@given(SAMPLES)
def test_what_is_not_finite_is_left_out(values: list[np.ndarray]) -> None:
    found = channels_of(values)
    rows = np.concatenate([v[0] for v in values], 1).astype(np.float64)
    for channel, row in enumerate(rows):
        finite = row[np.isfinite(row)]
        assert found.counts[channel] == finite.size
        assert found.minimum[channel] == min(finite, default=np.inf)
        assert found.maximum[channel] == max(finite, default=-np.inf)


def test_a_channel_of_zeros_has_zeros_for_everything() -> None:
    values = samples((1, 3, 8))
    for value in values:
        value[:, 1] = -0.0
    found = channels_of(values)
    assert (found.minimum[1], found.maximum[1], found.means()[1]) == (0, 0, 0)
    assert not np.signbit(found.minimum[1])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types(dtype: type[np.floating]) -> None:
    values = [value.astype(dtype) for value in samples((2, 3, 4))]
    found = channels_of(values)
    assert found.minimum[0] == min(value[:, 0].min() for value in values)
    assert found.means()[2] == pytest.approx(np.mean([v[:, 2] for v in values], dtype=float))


def test_huge_doubles_do_not_break_the_sums() -> None:
    found = channels_of([np.full((1, 2, 2), 1e300), np.full((1, 2, 2), -1e300)])
    assert (found.maximum[0], found.means()[0]) == (1e300, 0.0)


def test_numbers_of_channels_that_differ_do_not_fit() -> None:
    three, five, none = samples((1, 3, 4)), samples((1, 5, 4)), samples((4,))
    mixed = [*three, *five, *none]
    found = channels_of(mixed)
    assert (found.lengths, found.fits, found.counts.size) == ((0, 3, 5), False, 0)
    assert channels_of(mixed[::-1]) == found
    assert channels_of(none).lengths == (0,)
    assert channels_of(none).merge(channels_of([*three, *five])) == found


def test_memory_is_declared() -> None:
    assert channels_of(samples((1, 3, 4))).nbytes == 3 * 144
