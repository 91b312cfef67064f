"""Which values made-up inputs of 8 bits take: what the model's nodes say of them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.comparing import workable_inputs
from onnxopt.data import synthesize
from onnxopt.signature import signature_of

BYTES, SIGNED = (0, 256), (-128, 128)


def model(text: str) -> ir.Model:
    return store.from_text(f'<ir_version: 8, opset_import: ["" : 17]>\ng {text}')


def spans(text: str) -> dict[str, tuple[int, int]]:
    return dict(signature_of(model(text)).spans)


@pytest.mark.parametrize(("dtype", "wanted"), [("uint8", BYTES), ("int8", SIGNED)])
def test_codes_take_all_values(dtype: str, wanted: tuple[int, int]) -> None:
    text = f"""({dtype}[1,40] x, float s, {dtype} z) => (float[1,40] y)
    {{ y = DequantizeLinear(x, s, z) }}"""
    assert spans(text) == {"x": wanted, "z": wanted}
    (sample,) = synthesize(signature_of(model(text)), samples=1)
    assert sample.feeds["x"].min() < wanted[0] + 60
    assert sample.feeds["x"].max() > wanted[1] - 60


def test_scaled_features_take_all_values() -> None:
    scaled = """(int8[N,4] x) => (float[N,2] y)
    <float k = {0.1}, float[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}> {
        c = Cast<to = 1>(x)
        d = Mul(c, k)
        y = Gemm(d, w)
    }"""
    assert spans(scaled) == {"x": SIGNED}


def test_indices_stay_within_their_table() -> None:
    text = """(uint8[N,T] x) => (float[N,T,2] y) <float[5,2] w = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}> {
        i = Cast<to = 7>(x)
        y = Gather(w, i)
    }"""
    assert spans(text) == {"x": (0, 5)}
    found = list(workable_inputs(model(text)))
    assert set(np.unique([s.feeds["x"].max() for s in found])) == {4}


def test_the_smallest_table_counts() -> None:
    text = """(int8[8,8] x) => (float[8,8] y, float[8,8] z)
    <float[5] w = {0, 1, 2, 3, 4}, float[3] v = {0, 1, 2}> {
        i = Cast<to = 7>(x)
        y = Gather(w, i)
        z = Gather(v, i)
    }"""
    assert spans(text) == {"x": (0, 3)}


@pytest.mark.parametrize(
    "picking",
    [
        "k = Add(i, two)  y = Gather(w, k)",  # where it lands is not known
        "y = Gather(open, i)",
        "k = Unsqueeze(i, last)  y = GatherND(w, k)",
    ],
)
def test_indices_of_other_kinds_stay_small(picking: str) -> None:
    text = f"""(uint8[2,3,3] x, float[N] open) => (float[2,3,3] y)
    <float[9] w = {{0, 1, 2, 3, 4, 5, 6, 7, 8}}, int64 two = {{2}}, int64[1] last = {{-1}}>
    {{ i = Cast<to = 7>(x)  {picking} }}"""
    assert spans(text) == {"x": (0, 2)}
    assert len(list(workable_inputs(model(text), dims={"N": 9}))) == 4


@pytest.mark.parametrize(
    "reading",
    [
        "b = Cast<to = 9>(x)  y = Where(b, h, zero)",
        "c = Cast<to = 1>(x)  m = Sub(one, c)  n = Mul(m, low)  s = Add(h, n)  y = Softmax(s)",
        "c = Cast<to = 1>(x)  m = Mul(h, c)  y = Gemm(m, w)",
    ],
)
def test_masks_are_left_alone(reading: str) -> None:
    text = f"""(int8[2,2] x, float[2,2] h) => (float[2,2] y)
    <float one = {{1}}, float low = {{-10000}}, float zero = {{0}}, float[2,2] w = {{1, 2, 3, 4}}>
    {{ {reading} }}"""
    assert spans(text) == {}
    (sample,) = synthesize(signature_of(model(text)), samples=1)
    assert set(sample.feeds["x"].reshape(-1).tolist()) <= {0, 1}


def test_wider_integers_are_left_alone() -> None:
    text = """(int64[N] x) => (float[N] y) <float[5] w = {0, 1, 2, 3, 4}> { y = Gather(w, x) }"""
    assert spans(text) == {}


def test_what_is_asked_for_holds() -> None:
    text = "(uint8[64] x, float s) => (float[64] y) { y = DequantizeLinear(x, s) }"
    signature = signature_of(model(text))
    asked = synthesize(signature, samples=1, ranges={"x": (5, 9)})
    assert set(next(iter(asked)).feeds["x"].tolist()) == {5, 6, 7, 8}
    assert asked.fingerprint != synthesize(signature, samples=1).fingerprint
