"""quantize-dynamic: the kernels ONNX Runtime makes of it, the names, and what it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from kernels import kernels, relative_error, with_weights
from rewriting import apply, hits

from onnxopt import store
from onnxopt.graph import stats
from onnxopt.runtime import SessionConfig, open_session
from onnxopt_passes.quantize.quantize_dynamic import QuantizeDynamic

DYNAMIC, SHARED = "com.microsoft:DynamicQuantizeMatMul", "com.microsoft:MatMulIntegerToFloat"
STEP = QuantizeDynamic()


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("(float[2,5,64] x) => (float[2,5,64] y) { m = MatMul(x, w) y = Add(m, b) }", (64,)),
        ("(float[2,5,64] x) => (float[2,5,64] y) { m = MatMul(x, w) y = Add(b, m) }", (1, 1, 64)),
        ("(float[2,5,64] x) => (float[2,5,64] y) { m = MatMul(x, w) y = Add(m, b) }", (1,)),
        ("(float[5,64] x) => (float[5,64] y) { y = Gemm(x, w, b) }", (64,)),
        ("(float[5,64] x) => (float[5,64] y) { y = Gemm<transB=1, beta=2.0>(x, w, b) }", (1, 64)),
        ("(float[5,64] x) => (float[5,64] y) { y = Gemm(x, w, b) }", (1, 1)),
    ],
)
def test_a_layer_and_its_bias_are_one_kernel(
    text: str, shapes: tuple[int, ...], tmp_path: Path
) -> None:
    before = with_weights(text, w=(64, 64), b=shapes)
    after, notes = apply(STEP, before)
    assert hits(notes) == 1
    assert kernels(after, tmp_path) == {DYNAMIC: 1}
    assert 0.001 < relative_error(before, after) < 0.012  # 8 bits over 5 standard deviations


def test_layers_of_one_input_share_its_codes(tmp_path: Path) -> None:
    text = """(float[2,5,64] x) => (float[2,5,64] a, float[2,5,96] b) {
        m = MatMul(x, u) a = Add(m, c) b = MatMul(x, v) }"""
    after, notes = apply(STEP, with_weights(text, u=(64, 64), v=(64, 96), c=(64,)))
    assert hits(notes) == 2
    assert kernels(after, tmp_path) == {"DynamicQuantizeLinear": 1, SHARED: 2}


def test_shared_weights_are_coded_once_for_each_reading() -> None:
    text = """(float[5,64] x, float[5,64] z) => (float[5,64] a, float[5,64] b, float[5,64] c) {
        a = MatMul(x, w) b = MatMul(z, w) c = Gemm<transB=1>(z, w) }"""
    before = with_weights(text, w=(64, 64))
    after, _ = apply(STEP, before)
    assert sorted(after.graph.initializers) == ["w/q", "w/q/2", "w/scale", "w/scale/2"]
    assert relative_error(before, after) < 0.012


def test_a_product_that_is_read_twice_keeps_its_name() -> None:
    text = """(float[5,64] x) => (float[5,64] y, float[5,64] m) {
        m = MatMul(x, w) a = Add(m, b) y = Relu(a) }"""
    before = with_weights(text, w=(64, 64), b=(64,))
    after, _ = apply(STEP, before)
    assert [value.name for value in after.graph.outputs] == ["y", "m"]
    assert relative_error(before, after) < 0.012


def test_a_gemm_adds_a_bias_that_is_no_constant() -> None:
    text = "(float[5,64] x, float[5,64] c) => (float[5,64] y) { y = Gemm(x, w, c) }"
    before = with_weights(text, w=(64, 64))
    after, notes = apply(STEP, before)
    assert hits(notes) == 1
    assert relative_error(before, after) < 0.012


def test_nodes_in_a_branch_are_rewritten() -> None:
    text = """(bool p, float[5,64] x) => (float[5,64] y) {
        y = If (p) <then_branch = t () => (float[5,64] a) { a = MatMul(x, w) },
                    else_branch = e () => (float[5,64] b) { b = Neg(x) }> }"""
    before = with_weights(text, w=(64, 64))
    after, notes = apply(STEP, before)
    assert hits(notes) == 1
    assert relative_error(before, after) < 0.012


def test_half_precision_stays() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float16[2,64] x) => (float16[2,64] y) {'
    weights = ", ".join(["1"] * 4096)
    model = store.from_text(f"{text} w = Constant<value = float16[64,64] {{{weights}}}>() "
                            "y = MatMul(x, w) }")  # fmt: skip
    _, notes = apply(STEP, model)
    assert [note.reason for note in notes] == [
        "integers for FLOAT16 weights are not known to be fast"
    ]


def test_running_it_again_changes_nothing() -> None:
    before = with_weights("(float[5,64] x) => (float[5,64] y) { y = MatMul(x, w) }", w=(64, 64))
    once, _ = apply(STEP, before)
    twice, notes = apply(STEP, once)
    assert hits(notes) == 0
    assert store.same_graph(once, twice) is None


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_an_lstm_in_integers(direction: str, tmp_path: Path) -> None:
    ways = 2 if direction == "bidirectional" else 1
    text = f"""(float[7,2,32] x, float[{ways},2,64] h, float[{ways},2,64] c)
        => (float[7,{ways},2,64] y, float[{ways},2,64] yh, float[{ways},2,64] yc) {{
        y, yh, yc = LSTM<hidden_size=64, direction="{direction}">(x, w, r, b, , h, c) }}"""
    before = with_weights(text, w=(ways, 256, 32), r=(ways, 256, 64), b=(ways, 512))
    after, notes = apply(STEP, before)
    assert hits(notes) == 1
    assert kernels(after, tmp_path) == {"com.microsoft:DynamicQuantizeLSTM": 1}
    assert relative_error(before, after) < 0.03


def test_a_table_is_a_quarter_of_its_size(tmp_path: Path) -> None:
    text = "(int64[4] i) => (float[4,32] y, float[4,32] z) { y = Gather(t, i) z = Gather(t, i) }"
    before = with_weights(text, t=(512, 32))
    after, notes = apply(STEP, before)
    assert hits(notes) == 2
    assert stats(after).weight_bytes == 512 * 32 + 32 * 4
    ids = {"i": np.array([0, 3, 511, 7])}
    with open_session(before) as a, open_session(after) as b:
        wanted, found = a.run(ids)["y"], b.run(ids)["y"]
    assert np.linalg.norm(wanted - found) / np.linalg.norm(wanted) < 0.01
    assert kernels(after, tmp_path)["Gather"] == 1


def test_a_batch_of_zeros_and_an_empty_batch() -> None:
    before = with_weights("(float[n,64] x) => (float[n,64] y) { y = MatMul(x, w) }", w=(64, 64))
    after, _ = apply(STEP, before)
    with open_session(after, SessionConfig(optimization="all")) as session:
        assert not session.run({"x": np.zeros((3, 64), np.float32)})["y"].any()
        assert session.run({"x": np.zeros((0, 64), np.float32)})["y"].shape == (0, 64)


def test_values_have_types() -> None:
    before = with_weights("(float[5,64] x) => (float[5,64] y) { y = MatMul(x, w) }", w=(64, 64))
    after, _ = apply(STEP, before)
    types = {v.name: v.dtype for node in after.graph for v in node.outputs}
    assert types["x/q"] == ir.DataType.UINT8
    assert types["y/int"] == ir.DataType.INT32
