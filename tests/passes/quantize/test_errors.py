"""How much quantization costs in accuracy, pinned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxopt.data import in_memory
from onnxopt.runtime import open_session

Make = Callable[..., ir.Model]
Quantize = Callable[..., Any]
X = "(float[1,16,8,8] x)"
BLOCK = (
    f"{X} => (float[1,16,8,8] y) {{ c = Conv<pads = [1, 1, 1, 1]>(x, w, b) h = HardSwish(c) "
    "d = Conv<pads = [1, 1, 1, 1], group = 16>(h, v) r = Relu(d) p = Conv(r, u) y = Add(p, x) }"
)
SHAPES = {"w": (16, 16, 3, 3), "b": (16,), "v": (16, 1, 3, 3), "u": (16, 16, 1, 1)}


def test_a_block_of_convolutions(make: Make, quantize: Quantize, tmp_path: Path) -> None:
    found = quantize(make(BLOCK, **SHAPES))
    assert found.error() == pytest.approx(0.0218, rel=0.1)
    assert found.error("off") == pytest.approx(0.0218, rel=0.1)
    assert found.optimized_ops(tmp_path) == {
        "QuantizeLinear": 1,
        "Transpose": 2,
        "com.microsoft:QLinearConv": 3,
        "com.microsoft:QLinearAdd": 2,
        "com.microsoft:QLinearMul": 1,
        "DequantizeLinear": 1,
    }


def test_seven_bit_weights_cost_more_than_eight(make: Make, quantize: Quantize) -> None:
    model = make(f"{X} => (float[1,16,8,8] y) {{ y = Conv(x, w) }}", w=(16, 16, 1, 1))
    assert quantize(model).error() == pytest.approx(0.0132, rel=0.1)
    assert quantize(model, target="x64-avx2").error() == pytest.approx(0.0158, rel=0.1)


def test_percentile_trades_outliers_for_resolution(make: Make, quantize: Quantize) -> None:
    generator = np.random.default_rng(0)
    feeds = [{"x": generator.standard_normal((1, 16, 8, 8)).astype(np.float32)} for _ in range(8)]
    feeds[0]["x"][0, 0, 0, 0] = 500.0
    model = make(f"{X} => (float[1,16,8,8] y) {{ y = Conv(x, w) }}", w=(16, 16, 1, 1))
    rest = in_memory(feeds[1:])
    errors = {}
    for method in ("minmax", "percentile"):
        found = quantize(
            model, data=in_memory(feeds), options={"method": method, "percentile": 99.9}
        )
        found.data = rest
        errors[method] = found.error()
    assert errors["percentile"] < 0.15 < 0.5 < errors["minmax"]


@pytest.mark.parametrize("target", ["x64-vnni", "arm64"])
@pytest.mark.parametrize("op", ["HardSwish", "HardSigmoid<alpha = 0.17, beta = 0.4>"])
def test_hard_functions_are_one_code_off_at_most(
    make: Make, quantize: Quantize, op: str, target: str
) -> None:
    values = np.linspace(-4.5, 6.0, 256, dtype=np.float32)  # hits every code of x
    found = quantize(
        make(f"(float[256] x) => (float[256] y) {{ y = {op}(x) }}"),
        target=target,
        data=in_memory([{"x": values}]),
    )
    scale = found.after.graph.initializers["y/scale"].const_value
    assert scale is not None
    (exact,), (integer,) = found.run(found.before), found.run(found.after)
    x_code = found.after.graph.initializers["x/scale"].const_value
    assert x_code is not None
    slope = 1.5 * float(x_code.numpy())  # of x's own rounding, at the steepest
    assert abs(exact["y"] - integer["y"]).max() <= 1.01 * float(scale.numpy()) + slope


def test_only_the_part_of_a_range_that_hard_swish_sees_is_encoded(
    make: Make, quantize: Quantize
) -> None:
    text = f"{X} => (float[1,16,8,8] y) {{ c = Conv(x, w) y = HardSwish(c) }}"
    found = quantize(make(text, w=(16, 16, 1, 1)))
    scale = found.after.graph.initializers["c/scale"].const_value
    zero_point = found.after.graph.initializers["c/zero_point"].const_value
    assert scale is not None and zero_point is not None
    assert int(zero_point.numpy()) * float(scale.numpy()) == pytest.approx(3.0, abs=0.04)
    # the copy lacks what lies below -3, so the name stays with the float side
    assert found.value("c").producer().op_type == "Conv"
    assert found.value("c/dq").producer().op_type == "DequantizeLinear"


@settings(max_examples=30, deadline=None)
@given(
    slope=st.floats(0.05, 20.0),
    offset=st.floats(-5.0, 5.0),
    low=st.floats(-4.0, 0.0),
    high=st.floats(0.5, 8.0),
)
def test_lines_cost_nothing_or_are_left_to_a_kernel(
    slope: float, offset: float, low: float, high: float
) -> None:
    from onnxopt_passes.quantize._lines import Line, read_line  # the arithmetic alone
    from onnxopt_passes.quantize._numbers import Encoding

    codes = np.arange(256)
    encoding = Encoding(
        float(np.float32((high - low) / 255)), round(-low / (high - low) * 255), "uint8"
    )
    found = read_line(encoding, Line(slope, offset))
    if found is None:
        return
    x = (codes - encoding.zero_point) * encoding.scale
    y = (codes - found.zero_point) * found.scale
    assert np.abs(y - (slope * x + offset)).max() <= 2e-3 * found.scale + 1e-5 * abs(y).max()


@pytest.mark.parametrize("chain", ["m = Mul(h, k) y0 = Add(m, o)", "m = Add(o, h) y0 = Div(m, k)"])
def test_a_line_after_hard_swish_leaves_no_op(
    make: Make, quantize: Quantize, tmp_path: Path, chain: str
) -> None:
    text = (
        f"{X} => (float[1,16,8,8] y) {{ c = Conv(x, w) h = HardSwish(c) {chain} "
        "y = Conv<pads = [1, 1, 1, 1]>(y0, v) }"
    )
    found = quantize(make(text, w=(16, 16, 1, 1), v=(16, 16, 3, 3), k=(), o=()))
    ops = found.optimized_ops(tmp_path)
    assert (ops["com.microsoft:QLinearAdd"], ops["com.microsoft:QLinearMul"]) == (1, 1)
    assert ops["QuantizeLinear"] == ops["DequantizeLinear"] == 1
    assert found.error() < 0.02


def test_surviving_names_carry_the_same_tensors(make: Make, quantize: Quantize) -> None:
    found = quantize(make(BLOCK, **SHAPES))
    names = [v.name for node in found.before.graph for v in node.outputs if v.name]
    for model in (found.before, found.after):
        values = {v.name: v for node in model.graph for v in node.outputs}
        model.graph.outputs[:] = [values[name] for name in names if name in values]
    before, after = found.run(found.before)[0], found.run(found.after)[0]
    assert set(after) == set(before)
    for name, value in after.items():
        error = np.linalg.norm(value - before[name]) / np.linalg.norm(before[name])
        assert error < 0.025, name


def test_a_near_dead_channel_with_a_bias(make: Make, quantize: Quantize) -> None:
    model = make(f"{X} => (float[1,16,8,8] y) {{ y = Conv(x, w, b) }}", w=(16, 16, 1, 1), b=(16,))
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    array = weight.numpy().copy()
    array[3] *= 1e-12
    model.graph.initializers["w"].const_value = ir.tensor(array, name="w")
    found = quantize(model)
    with open_session(found.after) as session:
        outputs = [session.run(sample.feeds)["y"][0, 3] for sample in found.data]
    bias = model.graph.initializers["b"].const_value
    assert bias is not None
    assert np.allclose(outputs, bias.numpy()[3], atol=0.1)
