"""Exact sums: equal to rational arithmetic, whatever the order."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxopt.calibrate import sums

NUMBERS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1)


def summed(values: list[float]) -> sums.Limbs:
    total = np.zeros((1, sums.LIMBS), np.int64)
    for value in values:
        total = total + sums.exact(np.array([value]))
    return total


@given(NUMBERS, st.randoms(use_true_random=False))
def test_sums_are_exact_in_any_order(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    total = summed(values)
    assert np.array_equal(total, summed(shuffled))
    mean = sum(map(Fraction, values), Fraction()) / len(values)
    assert sums.means(total, np.array([len(values)]))[0] == float(mean)


@given(st.integers(-(2**53), 2**53), st.integers(-201, 136))
def test_all_digits_of_a_float64_count(mantissa: int, exponent: int) -> None:
    value = float(np.ldexp(float(mantissa), exponent))
    assert sums.means(sums.exact(np.array([value])), np.array([1]))[0] == value


def test_small_numbers_survive_large_ones() -> None:
    total = summed([1e38, 1e-38, -1e38])
    assert sums.means(total, np.array([1]))[0] == 1e-38


def test_each_row_has_its_own_sum_and_nothing_has_the_mean_zero() -> None:
    limbs = sums.exact(np.array([1.5, -2.0, 0.0])) + sums.exact(np.array([1.0, 0.25, 0.0]))
    assert sums.means(limbs, np.array([2, 1, 0])) == pytest.approx([1.25, -1.75, 0.0], abs=0)
