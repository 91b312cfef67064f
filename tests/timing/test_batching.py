from __future__ import annotations

import numpy as np
import pytest

from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature, TensorSpec
from onnxopt.timing import batch_sizes, stacked

IMAGE = TensorSpec("x", "float32", ("N", 3, "H"))
MASK = TensorSpec("m", "bool", (None, 2))
RATE = TensorSpec("sr", "int64", ())
FIXED = TensorSpec("f", "float32", (1, 4))


def signature(*inputs: TensorSpec) -> Signature:
    return Signature(inputs, ())


def sample(value: float, width: int = 5) -> dict[str, np.ndarray]:
    x = np.full((1, 3, width), value, np.float32)
    return {"x": x, "m": np.array([[True, False]]), "sr": np.array(16000)}


def test_sizes_of_every_open_first_axis() -> None:
    found = batch_sizes(signature(IMAGE, MASK, RATE, FIXED), 8, {"H": 32})
    assert found == {"N": 8, "m:0": 8, "H": 32}


@pytest.mark.parametrize(
    ("inputs", "fixed", "reason"),
    [
        ((FIXED, RATE), {}, r"batch 8 .* f: float32\[1,4\].* wanted an input whose first axis"),
        ((IMAGE,), {"N": 2}, "batch 8 and N=2 speak of one axis"),
    ],
)
def test_where_there_is_no_batch(
    inputs: tuple[TensorSpec, ...], fixed: dict[str, int], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        batch_sizes(signature(*inputs), 8, fixed)


def test_samples_are_stacked_where_the_first_axis_is_open() -> None:
    first, second = stacked(signature(IMAGE, MASK, RATE), [sample(n) for n in range(4)], 2)
    assert first["x"].shape == (2, 3, 5)
    assert [float(x.flat[0]) for x in second["x"]] == [2, 3]
    assert first["m"].shape == (2, 2)
    assert first["sr"].shape == ()


def test_samples_that_do_not_stack() -> None:
    one = signature(IMAGE, MASK, RATE)
    with pytest.raises(DataError, match=r"x has samples of shapes \[1, 3, 5\], \[1, 3, 6\]"):
        stacked(one, [sample(0), sample(1, 6)], 2)
    with pytest.raises(DataError, match="sr differs between samples"):
        stacked(one, [sample(0), {**sample(1), "sr": np.array(8000)}], 2)
    double = {**sample(0), "x": np.zeros((2, 3, 5), np.float32)}
    with pytest.raises(DataError, match="x: a sample has 2 items"):
        stacked(one, [double, double], 2)
