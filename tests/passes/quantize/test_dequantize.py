"""dequantize-model: every form goes back to float, within what its weights lost."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from kernels import relative_error, with_weights
from rewriting import apply

from onnxopt import store
from onnxopt.data import synthesize
from onnxopt.runtime import open_session
from onnxopt.signature import signature_of
from onnxopt.targets import load_target
from onnxopt.transform import Context
from onnxopt_passes.quantize._already import quantized_formats
from onnxopt_passes.quantize.dequantize_model import DequantizeModel
from onnxopt_passes.quantize.quantize_dynamic import QuantizeDynamic
from onnxopt_passes.quantize.quantize_static import QuantizeStatic
from onnxopt_passes.quantize.quantize_weights import QuantizeWeights

LAYERS = """(float[2,5,64] x) => (float[2,5,64] y) {
    m = MatMul(x, w) a = Add(m, b) r = Relu(a) n = MatMul(r, v) y = Add(n, b) }"""


def layers() -> ir.Model:
    return with_weights(LAYERS, w=(64, 96), v=(96, 96), b=(96,))


def in_codes(model: ir.Model) -> ir.Model:
    result = store.load(store.serialize(model))
    data = synthesize(signature_of(model), dims={}, seed=0, samples=8)
    step = QuantizeStatic.from_options({"placement": "all"})
    list(step.rewrite(result, Context(target=load_target("x64-vnni"), calibration=data)))
    return result


@pytest.mark.parametrize(
    ("step", "least", "most"),
    [
        (QuantizeDynamic(), 0.001, 0.01),
        (QuantizeWeights(), 0.001, 0.01),
        (QuantizeWeights(bits=4, block_size=32), 0.05, 0.15),
        (QuantizeWeights(bits=4, block_size=32, symmetric=False), 0.05, 0.15),
        (QuantizeWeights(symmetric=False), 0.001, 0.01),
    ],
)
def test_what_is_left_is_what_the_weights_lost(
    step: QuantizeDynamic | QuantizeWeights, least: float, most: float
) -> None:
    model = layers()
    coded, _ = apply(step, model)
    assert quantized_formats(coded)
    back, _ = apply(DequantizeModel(), coded)
    assert not quantized_formats(back)
    assert least < relative_error(model, back) < most
    assert relative_error(model, back) <= relative_error(model, coded) * 1.02


def test_a_static_model_saturates_still() -> None:
    model = layers()
    coded = in_codes(model)
    back, _ = apply(DequantizeModel(), coded)
    assert not quantized_formats(back)
    assert relative_error(coded, back) < 0.02
    assert any(node.op_type == "Clip" for node in back.graph)
    free, _ = apply(DequantizeModel(saturate=False), coded)
    assert not any(node.op_type == "Clip" for node in free.graph)


def test_a_hard_swish_of_saturating_sums_comes_back() -> None:
    text = """(float[1,8,6,6] x) => (float[1,8,6,6] y) {
        c = Conv(x, w) h = HardSwish(c) y = Conv(h, w) }"""
    model = with_weights(text, w=(8, 8, 1, 1))
    coded = in_codes(model)
    back, _ = apply(DequantizeModel(), coded)
    assert not quantized_formats(back)
    assert relative_error(model, back) < 0.02


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_an_lstm_comes_back(direction: str) -> None:
    ways = 2 if direction == "bidirectional" else 1
    text = f"""(float[7,2,32] x) => (float[7,{ways},2,64] y) {{
        y = LSTM<hidden_size=64, direction="{direction}">(x, w, r, b) }}"""
    model = with_weights(text, w=(ways, 256, 32), r=(ways, 256, 64), b=(ways, 512))
    coded, _ = apply(QuantizeDynamic(), model)
    back, _ = apply(DequantizeModel(), coded)
    assert [node.op_type for node in back.graph] == ["LSTM"]
    assert relative_error(model, back) < 0.01


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_table_comes_back(bits: int, symmetric: bool) -> None:
    model = with_weights("(int64[5] i) => (float[5,128] y) { y = Gather(w, i) }", w=(200, 128))
    options = {"bits": bits, "symmetric": symmetric, "block_size": 32}
    coded, _ = apply(QuantizeWeights.from_options(options), model)
    back, _ = apply(DequantizeModel(), coded)
    assert [node.op_type for node in back.graph] == ["Gather"]
    ids = {"i": np.array([0, 7, 199, 3, 3])}
    with open_session(coded) as a, open_session(back) as b:
        np.testing.assert_allclose(a.run(ids)["y"], b.run(ids)["y"], rtol=1e-5, atol=1e-7)


def test_codes_that_move_become_numbers_that_move() -> None:
    text = """(float[1,2,4,4] x) => (float[1,8,2,2] y) <float s = {0.05}, uint8 z = {128}> {
        q = QuantizeLinear(x, s, z) m = MaxPool<kernel_shape=[1,1], strides=[1,1]>(q)
        d = SpaceToDepth<blocksize=2>(m) t = Identity(d) y = DequantizeLinear(t, s, z) }"""
    model = with_weights(text)
    back, _ = apply(DequantizeModel(), model)
    assert not quantized_formats(back)
    assert relative_error(model, back) < 0.02


def test_a_float_model_is_left_alone() -> None:
    model = layers()
    back, notes = apply(DequantizeModel(), model)
    assert not notes
    assert store.same_graph(model, back) is None
