from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxopt.timing.ratio import median_interval, paired_speedup


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=40))
def test_the_interval_holds_the_median_and_is_symmetric_in_rank(values: list[float]) -> None:
    found = median_interval(values)
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(np.median(values))
    below = sum(value < found.low for value in values)
    above = sum(value > found.high for value in values)
    assert max(below, above) <= len(values) / 2


@pytest.mark.parametrize(
    ("count", "rank"),
    # rank of the lower end for 95 %, from tables of the sign test
    [(6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (15, 4), (20, 6), (25, 8)],
)
def test_ranks_are_those_of_the_sign_test(count: int, rank: int) -> None:
    found = median_interval([float(n) for n in range(1, count + 1)])
    assert (found.low, found.high) == (rank, count + 1 - rank)
    assert found.confidence >= 0.95


def test_few_rounds_claim_less() -> None:
    assert median_interval([1.0, 2.0, 3.0]).confidence == 0.75
    alone = median_interval([2.0])
    assert (alone.low, alone.value, alone.high, alone.confidence) == (2, 2, 2, 0)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).standard_t(2, size=(2000, 12))
    covered = [(m := median_interval(list(row))).low <= 0 <= m.high for row in draws]
    # 0.961 exactly; 2000 draws have a standard error of 0.004
    assert np.mean(covered) == pytest.approx(median_interval(list(draws[0])).confidence, abs=0.02)


def test_pairing_cancels_drift() -> None:
    drift = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    found = paired_speedup([2 * d for d in drift], drift)
    assert (found.low, found.value, found.high) == (2, 2, 2)
    assert math.isclose(found.confidence, 1 - 2 / 64)
