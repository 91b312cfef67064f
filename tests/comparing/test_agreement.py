from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxopt.comparing import Accumulator, compare_outputs, compare_value, tensors
from onnxopt.comparing.agreement import within_noise
from onnxopt.exactness import Exactness, Tolerance

BITWISE = Exactness.BITWISE.tolerance
ROUNDING = Exactness.ROUNDING.tolerance
floats = hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=5, min_side=0))


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("a", "b", "tolerance", "verdict"),
    [
        (f32(1, 2), f32(1, 2), BITWISE, "agree"),
        (f32(1, 2), np.nextafter(f32(1, 2), f32(9, 9)), BITWISE, "differ"),
        (f32(1, 2), np.nextafter(f32(1, 2), f32(9, 9)), ROUNDING, "agree"),
        (f32(0.0), f32(-0.0), BITWISE, "differ"),
        (f32(0.0), f32(-0.0), ROUNDING, "agree"),
        (f32(np.nan), f32(np.nan), BITWISE, "agree"),
        (f32(np.nan), f32(0), ROUNDING, "differ"),
        (f32(np.inf), f32(np.inf), BITWISE, "agree"),
        (f32(np.inf), f32(-np.inf), ROUNDING, "differ"),
        (f32(np.inf), f32(3e38), ROUNDING, "differ"),
        (f32(1000), f32(1001), ROUNDING, "agree"),
        (f32(1000), f32(1001.2), ROUNDING, "differ"),
        (f32(0), f32(0.00009), ROUNDING, "agree"),
        (f32(0), f32(0.0002), ROUNDING, "differ"),
        (f32(1), f32(5), None, "agree"),
        (f32(1), np.array([1.0]), None, "differ"),
        (f32(1), f32(1, 2), None, "differ"),
        (f32(1), f32(1).reshape(1, 1), ROUNDING, "differ"),
        (f32(), f32(), BITWISE, "agree"),
        (np.zeros((0, 2), "f4"), np.zeros((0, 3), "f4"), BITWISE, "differ"),
        (np.array([2**60]), np.array([2**60 + 1]), ROUNDING, "differ"),
        (np.array([True]), np.array([False]), ROUNDING, "differ"),
        (np.array([3]), np.array([3], np.int32), ROUNDING, "differ"),
        (np.array(["a"]), np.array(["a"], dtype=object), BITWISE, "agree"),
        (np.array(["a"]), np.array(["b"]), ROUNDING, "differ"),
        (np.array([1 + 1j]), np.array([1 + 1j]), BITWISE, "agree"),
        (np.array([1 + 1j]), np.array([1 + 2j]), ROUNDING, "differ"),
        ([f32(1), f32(2)], [f32(1), f32(2)], BITWISE, "agree"),
        ([f32(1), f32(2)], [f32(1), f32(3)], ROUNDING, "differ"),
        ([f32(1)], [f32(1), f32(2)], None, "differ"),
        ([], [], BITWISE, "agree"),
        ([{"a": 0.5}], [{"a": 0.5}], BITWISE, "agree"),
        ([{"a": 0.5}], [{"b": 0.5}], ROUNDING, "differ"),
        ([{1: 0.5}], [{1: 0.6}], ROUNDING, "differ"),
        (None, None, BITWISE, "agree"),
        (None, f32(1), BITWISE, "differ"),
        ([f32(1)], f32(1), BITWISE, "differ"),
    ],
)
def test_rules(a: Any, b: Any, tolerance: Tolerance | None, verdict: str) -> None:
    found = compare_value("y", a, b, tolerance)
    assert found.verdict == verdict
    assert bool(found.reason) == (verdict == "differ")


def test_half_types() -> None:
    for dtype in (np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        a, b = np.array([[1, 2]], dtype), np.array([[1, 0.5]], dtype)
        assert compare_value("y", a, a, BITWISE).verdict == "agree"
        found = compare_value("y", a, b, ROUNDING)
        assert (found.verdict, found.max_abs, found.argmax_agreement) == ("differ", 1.5, 0)


def test_measures() -> None:
    a, b = f32(3, 4).reshape(1, 2), f32(3, 3).reshape(1, 2)
    found = compare_value("y", a, b, ROUNDING)
    assert found.max_abs == 1
    assert found.mean_abs == 0.5
    assert found.relative_l2 == pytest.approx(1 / 5)
    assert found.cosine == pytest.approx(21 / (5 * math.sqrt(18)))
    assert found.argmax_agreement == 0
    assert found.mismatch == 0.5
    assert found.first_bad_index == (0, 1)
    assert "differs at [0, 1]: 3.0 instead of 4.0; 1 of 2 elements" in found.reason


def test_an_all_zero_reference_uses_the_absolute_error() -> None:
    assert compare_value("y", f32(0, 0), f32(3, 4), None).relative_l2 == 5
    assert compare_value("y", f32(0, 0), f32(0, 0), None).cosine == 1
    assert compare_value("y", f32(0, 0), f32(0, 1), None).cosine == 0


def test_an_infinity_out_of_place_is_an_infinite_error() -> None:
    found = compare_value("y", f32(1, np.nan), f32(np.inf, np.nan), None)
    assert found.relative_l2 == found.max_abs == math.inf
    both = compare_value("y", f32(1, np.nan, np.inf), f32(2, np.nan, np.inf), None)
    assert (both.relative_l2, both.max_abs) == (1, 1)


def test_integers_have_errors_but_no_fidelity() -> None:
    found = compare_value("y", np.array([1, 5]), np.array([1, 3]), ROUNDING)
    assert (found.max_abs, found.relative_l2, found.cosine, found.mismatch) == (2, None, None, 0.5)


def test_names_and_order() -> None:
    one = {"a": f32(1), "b": f32(2)}
    agreements = compare_outputs(one, {"b": f32(2), "a": f32(1)}, ROUNDING)
    assert [a.reason for a in agreements] == [
        "is output 1 instead of 0",
        "is output 0 instead of 1",
    ]
    agreements = compare_outputs(one, {"a": f32(1), "c": f32(2)}, None)
    assert [(a.name, a.verdict) for a in agreements] == [
        ("a", "agree"),
        ("b", "differ"),
        ("c", "differ"),
    ]


def test_random_outputs_are_not_compared() -> None:
    (found,) = compare_outputs({"y": f32(1)}, {"y": f32(2)}, BITWISE, {"y": "is random"})
    assert (found.verdict, found.reason) == ("not-comparable", "is random")


@settings(deadline=None)
@given(floats)
def test_everything_agrees_with_itself(array: np.ndarray) -> None:
    found = compare_value("y", array, array.copy(), BITWISE)
    assert found.verdict == "agree"
    assert found.mismatch == 0
    assert found.max_abs == 0
    assert found.relative_l2 == 0


@settings(deadline=None)
@given(a=floats, data=st.data())
def test_blocks_change_no_verdict(a: np.ndarray, data: st.DataObject) -> None:
    b = data.draw(hnp.arrays(np.float32, a.shape))
    whole = compare_value("y", a, b, ROUNDING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "_BLOCK", 3)
        parts = compare_value("y", a, b, ROUNDING)
    assert (parts.verdict, parts.first_bad_index, parts.mismatch, parts.max_abs) == (
        whole.verdict,
        whole.first_bad_index,
        whole.mismatch,
        whole.max_abs,
    )
    assert parts.relative_l2 == pytest.approx(whole.relative_l2)
    with np.errstate(all="ignore"):
        near = np.isclose(b, a, atol=1e-4, rtol=1e-3, equal_nan=True) if a.size else np.array(True)
    assert (whole.verdict == "agree") == bool(near.all())


def test_the_sum_over_samples() -> None:
    accumulator = Accumulator()
    pairs = [(f32(1, 2), f32(1, 2)), (f32(1, 2), f32(1, 3)), (f32(1, 2), f32(2, 2))]
    for index, (a, b) in enumerate(pairs):
        accumulator.add(compare_outputs({"y": a}, {"y": b}, ROUNDING), f"item{index}")
    (summary,) = accumulator.summaries()
    assert summary.verdict == "differ"
    assert summary.samples == 3
    assert summary.worst_abs == 1
    assert summary.mean_abs == pytest.approx(1 / 3)
    assert summary.first_bad_item == "item1"
    assert summary.first_bad_index == (1,)
    assert summary.worst_relative_l2 == pytest.approx(1 / math.sqrt(5))
    assert summary.argmax_agreement == pytest.approx(2 / 3)


def test_small_numbers_among_large_ones_carry_their_rounding() -> None:
    a = np.random.default_rng(0).normal(0, 300, (4, 100)).astype(np.float32)
    a[1, 7] = 0.01
    b = a.copy()
    b[1, 7] += 0.005
    assert compare_value("y", a, b, ROUNDING).verdict == "agree"
    assert compare_value("y", a, b, Tolerance(1e-4, 1e-3)).first_bad_index == (1, 7)
    b[1, 7] += 1
    assert compare_value("y", a, b, ROUNDING).first_bad_index == (1, 7)
    assert compare_value("y", a, b, ROUNDING).mismatch == 1 / 400


@pytest.mark.parametrize("dtype", ["float32", "float16", ml_dtypes.bfloat16])
def test_numbers_of_another_size_stand_in_rows_of_their_own(dtype: str) -> None:
    boxes = np.random.default_rng(1).uniform(0, 640, (1, 4, 100))
    scores = np.random.default_rng(2).uniform(0, 1, (1, 2, 100)) ** 8
    a = np.concatenate([boxes, scores], 1).astype(dtype)
    b = a.copy()
    b[0, 5, np.argmin(a[0, 5])] += np.asarray(0.01, dtype)
    assert compare_value("y", a, b, ROUNDING).verdict == "differ"


def test_few_numbers_and_infinite_ones_have_no_usual_magnitude() -> None:
    assert compare_value("y", f32(1e6, 0), f32(1e6, 0.01), ROUNDING).verdict == "differ"
    a = np.full(100, 1e6, np.float32)
    a[0], a[1] = np.inf, 0
    b = a.copy()
    b[1] = 0.01
    assert compare_value("y", a, b, ROUNDING).verdict == "differ"


def test_noise_excuses_what_is_hardly_larger() -> None:
    a = np.linspace(-1, 1, 10, dtype=np.float32)
    noise = compare_outputs({"y": a}, {"y": a + 0.01}, ROUNDING)

    def verdict(found: np.ndarray) -> str:
        return within_noise(compare_outputs({"y": a}, {"y": found}, ROUNDING), noise)[0].verdict

    assert verdict(a + 0.035) == "agree"
    assert verdict(a + 0.05) == "differ"
    assert verdict(a[:5]) == "differ"
    spike = a.copy()
    spike[3] += 0.05
    assert verdict(spike) == "differ"
    still = compare_outputs({"y": a}, {"y": a}, ROUNDING)
    assert within_noise(compare_outputs({"y": a}, {"y": a + 1}, ROUNDING), still)[0].verdict == (
        "differ"
    )
