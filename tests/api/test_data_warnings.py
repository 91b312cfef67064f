"""What is said against samples."""

from __future__ import annotations

import numpy as np
import pytest

from onnxopt import api, store
from onnxopt.api import RunOptions
from onnxopt.api.data_warnings import data_warnings
from onnxopt.data import Dataset, Sample, in_memory

MODEL = store.from_text(
    '<ir_version: 8, opset_import: ["" : 17]>'
    "g (double[1,4] x) => (double[1,4] y) <double[4,4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}>"
    " { y = MatMul(x, w) }"
)


def rows(array: np.ndarray) -> Dataset:
    return in_memory([Sample({"x": row[None]}, None, str(n)) for n, row in enumerate(array)])


@pytest.fixture
def numbers() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((20, 4))


def test_good_samples_are_passed_over(numbers: np.ndarray) -> None:
    assert data_warnings([rows(numbers[:10]), rows(numbers[10:])]) == ()


def test_samples_that_are_not_finite_are_counted(numbers: np.ndarray) -> None:
    numbers[3, 1], numbers[15, 0] = np.nan, np.inf
    (found,) = data_warnings([rows(numbers[:10]), rows(numbers[10:])])
    assert found.startswith("2 of 20 samples hold NaN or infinity")


def test_samples_that_are_all_the_same_are_told() -> None:
    (found,) = data_warnings([rows(np.ones((4, 4))), rows(np.ones((2, 4)))])
    assert found.startswith("all 6 samples are the same")


def test_they_are_among_the_warnings_and_the_verdict_says_why_nothing_was_done() -> None:
    found = api.quantize(MODEL, data=rows(np.ones((20, 4))), options=RunOptions(target="x64-vnni"))
    assert any("all 20 samples are the same" in text for text in found.warnings)
    assert found.verdict == "kept-float"
    assert "float64" in found.why
