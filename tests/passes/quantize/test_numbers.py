"""The arithmetic: errors within half a code, zero exact, biases that never overflow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxopt.calibrate import Range
from onnxopt.targets import Int8Scheme
from onnxopt_passes.quantize._numbers import (
    Encoding,
    activation_encoding,
    code_range,
    encode,
    least_weight_scales,
    quantize_bias,
    quantize_weight,
    unit_encoding,
    weight_scales,
)

SCHEMES = [
    Int8Scheme(activation="uint8"),
    Int8Scheme(activation="int8"),
    Int8Scheme(activation="int8", symmetric=True),
    Int8Scheme(activation="uint8", symmetric=True),
]
NUMBERS = st.floats(-1e6, 1e6, width=32)
WEIGHTS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=4), elements=NUMBERS
)


def decode(codes: np.ndarray, encoding: Encoding) -> np.ndarray:
    return (codes.astype(np.float64) - encoding.zero_point) * encoding.scale


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@given(NUMBERS, NUMBERS, st.floats(0, 1))
def test_values_in_range_are_half_a_code_off_at_most(
    scheme: Int8Scheme, a: float, b: float, share: float
) -> None:
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    encoding = activation_encoding(Range(min(a, b), max(a, b)), scheme)
    value = np.array([low + share * (high - low), 0.0])
    back = decode(encode(value, encoding), encoding)
    # rounding of the zero point may cost the outermost values up to half a code more
    assert abs(back[0] - value[0]) <= 1.0001 * encoding.scale
    assert back[1] == 0.0
    lowest, highest = code_range(scheme.activation)
    assert lowest <= encoding.zero_point <= highest


@pytest.mark.parametrize("scheme", SCHEMES[:2], ids=str)
def test_a_range_from_zero_uses_every_code(scheme: Int8Scheme) -> None:
    encoding = activation_encoding(Range(0.0, 6.0), scheme)
    lowest, highest = code_range(scheme.activation)
    assert encoding.zero_point == lowest  # so saturating is Relu
    assert encoding.scale * 255 == pytest.approx(6.0)
    assert encode(np.array([-1.0, 6.0, 9.0]), encoding).tolist() == [lowest, highest, highest]


def test_an_empty_range_still_encodes_zero() -> None:
    encoding = activation_encoding(Range(0.0, 0.0), SCHEMES[0])
    assert encoding == Encoding(1.0, 0, "uint8")


def test_unit_encoding_saturates_outside_zero_to_one() -> None:
    encoding = unit_encoding(SCHEMES[1])
    codes = encode(np.array([-5.0, 0.0, 1.0, 7.0]), encoding)
    assert codes.tolist() == [-128, -128, 127, 127]


@given(WEIGHTS, st.sampled_from([7, 8]), st.booleans(), st.data())
def test_weights_are_half_a_code_off_at_most(
    weight: np.ndarray, bits: int, per_channel: bool, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(0, weight.ndim - 1))
    scheme = Int8Scheme(activation="uint8", weight_bits=bits, per_channel=per_channel)
    scales = weight_scales(weight, axis, scheme)
    codes = quantize_weight(weight, axis, scales, scheme)
    shape = [1] * weight.ndim
    shape[axis] = -1
    wide = scales.astype(np.float64).reshape(shape)
    assert abs(int(abs(codes.astype(int)).max())) <= 2 ** (bits - 1) - 1
    assert np.all(abs(codes * wide - weight) <= 0.5001 * wide)
    assert per_channel or len(set(scales)) == 1


@given(
    hnp.arrays(np.float32, (3, 2), elements=st.floats(-(2**-66), 2**-66, width=32)),
    hnp.arrays(np.float32, 3, elements=st.floats(-(2**13), 2**13, width=32)),
    st.floats(2**-20, 8.0, width=32),
)
def test_a_bias_of_a_dead_channel_does_not_overflow(
    weight: np.ndarray, bias: np.ndarray, scale: float
) -> None:
    scheme, activation = SCHEMES[0], Encoding(float(np.float32(scale)), 0, "uint8")
    scales = weight_scales(weight, 0, scheme, least_weight_scales(bias, activation))
    products = scales * np.float32(activation.scale)
    codes = quantize_bias(bias, products)
    back = codes.astype(np.float64) * products
    assert np.all(abs(back - bias) <= 1e-6 * abs(bias) + products)


def test_the_error_of_a_normal_sample_is_what_theory_says() -> None:
    values = np.random.default_rng(0).standard_normal(100_000)
    encoding = activation_encoding(Range(float(values.min()), float(values.max())), SCHEMES[0])
    error = decode(encode(values, encoding), encoding) - values
    assert np.sqrt(np.mean(error**2)) == pytest.approx(encoding.scale / np.sqrt(12), rel=0.01)
