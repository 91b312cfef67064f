"""convert-float16 and convert-bfloat16: what stays, how many Casts, what it costs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from kernels import relative_error, with_weights
from onnx.reference import ReferenceEvaluator
from rewriting import apply

from onnxopt import store
from onnxopt.data import synthesize
from onnxopt.signature import signature_of
from onnxopt.transform import Context, Note
from onnxopt_passes.precision.convert_bfloat16 import ConvertBfloat16
from onnxopt_passes.precision.convert_float16 import ConvertFloat16

LAYERS = """(float[2,5,64] x) => (float[2,5,96] y) {
    m = MatMul(x, w) a = Add(m, b) r = Relu(a) s = Softmax<axis=-1>(r) y = MatMul(s, v) }"""
WEIGHTS = {"w": (64, 96), "v": (96, 96), "b": (96,)}


def converted(model: ir.Model, step: ConvertFloat16) -> tuple[ir.Model, list[Note]]:
    """The copy that a pass makes of a model, with calibration data."""
    result = store.load(store.serialize(model))
    samples = synthesize(signature_of(model), dims={}, seed=0, samples=8)
    return result, list(step.rewrite(result, Context(calibration=samples)))


def ops(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@pytest.mark.parametrize("keep_io", [True, False])
def test_half_the_bytes_and_eleven_bits(keep_io: bool) -> None:
    model = with_weights(LAYERS, **WEIGHTS)
    after, _ = converted(model, ConvertFloat16(keep_io=keep_io))
    onnx.checker.check_model(onnx.load_from_string(store.serialize(after)), full_check=True)
    assert ops(after)["Cast"] == (2 if keep_io else 0)
    kinds = {value.dtype for value in (*after.graph.inputs, *after.graph.outputs)}
    assert kinds == {ir.DataType.FLOAT if keep_io else ir.DataType.FLOAT16}
    assert all(v.dtype == ir.DataType.FLOAT16 for v in after.graph.initializers.values())
    if keep_io:
        assert 1e-5 < relative_error(model, after) < 1e-3


def test_what_the_data_drives_too_high_stays() -> None:
    text = """(float[4,64] x) => (float[4,96] y) { m = MatMul(x, w) p = Mul(m, k)
        e = Mul(p, l) y = MatMul(e, v) }"""
    model = with_weights(text, w=(64, 96), v=(96, 96), k=(1,), l=(1,))
    for name, number in (("k", 60000.0), ("l", 1e-4)):
        array = np.full((1,), number, np.float32)
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    after, notes = converted(model, ConvertFloat16())
    kept = {note.node: note.reason for note in notes if note.kind == "refused"}
    assert set(kept) == {"p", "e"}
    assert all("p reaches" in reason for reason in kept.values())
    assert ops(after)["Cast"] == 4  # in, out, and around the two
    assert 1e-5 < relative_error(model, after) < 2e-3


def test_what_fades_in_float16_stays() -> None:
    text = "(float[4,64] x) => (float[4,96] y) { t = Mul(x, k) e = Div(t, k) y = MatMul(e, w) }"
    model = with_weights(text, w=(64, 96), k=(1,))
    array = np.full((1,), 1e-6, np.float32)
    model.graph.initializers["k"].const_value = ir.tensor(array, name="k")
    after, notes = converted(model, ConvertFloat16())
    assert {note.node for note in notes if note.kind == "refused"} == {"t", "e"}
    assert relative_error(model, after) < 1e-3


def test_a_light_node_between_two_that_stay_stays_too() -> None:
    text = """(float[4,64] x) => (float[4,64] y) {
        a = CumSum(x, i) n = Neg(a) y = CumSum(n, i) }"""
    model = with_weights(text.replace("{", "<int64 i = {1}> {", 1))
    after, notes = apply(ConvertFloat16(), model)
    assert ops(after) == ops(model)
    assert not [note for note in notes if note.kind == "applied"]


def test_one_cast_serves_all_readers() -> None:
    text = """(float[4,64] x) => (float[4,64] a, float[4,64] b, float[4,64] c) {
        a = MatMul(x, w) b = MatMul(x, v) c = CumSum(x, i) }"""
    model = with_weights(text.replace("{", "<int64 i = {1}> {", 1), w=(64, 64), v=(64, 64))
    after, _ = apply(ConvertFloat16(), model)
    assert ops(after)["Cast"] == 3  # one in, two out


def test_running_it_again_changes_nothing() -> None:
    once, _ = apply(ConvertFloat16(), with_weights(LAYERS, **WEIGHTS))
    twice, notes = apply(ConvertFloat16(), once)
    assert not [note for note in notes if note.kind == "applied"]
    assert store.same_graph(once, twice) is None


def test_bfloat16_against_the_reference() -> None:
    text = """(float[4,64] x) => (float[4,96] y) {
        m = MatMul(x, w) a = Add(m, b) y = Relu(a) }"""
    model = with_weights(text, w=(64, 96), b=(96,))
    after, notes = apply(ConvertBfloat16(), model)
    assert ops(after)["Cast"] == 2
    assert notes[-1].figures == {"nodes": 3, "casts": 2}
    x = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    runs = [
        ReferenceEvaluator(onnx.load_from_string(store.serialize(m))).run(None, {"x": x})[0]
        for m in (model, after)
    ]
    error = np.linalg.norm(runs[0] - runs[1]) / np.linalg.norm(runs[0])
    assert 5e-4 < error < 1e-2


def test_infinite_masks_are_no_overflow() -> None:
    text = "(float[4,64] x) => (float[4,64] y) { m = Add(x, k) y = Softmax(m) }"
    model = with_weights(text, k=(64,))
    array = np.where(np.arange(64) < 9, -np.inf, 0).astype(np.float32)
    model.graph.initializers["k"].const_value = ir.tensor(array, name="k")
    after, notes = converted(model, ConvertFloat16())
    assert [note.kind for note in notes] == ["applied"]
    assert relative_error(model, after) < 1e-3


SEQUENCES = """<ir_version: 8, opset_import: ["" : 18]>
g (float[4,4] x, float[2,4] z, int64 i) => (float[2,4] y) {
  e = Exp(x) s = SplitToSequence<axis = 0>(e, i) t = SequenceInsert(s, z)
  u = Identity(t) y = SequenceAt(u, i) }"""
DRAWN = """<ir_version: 8, opset_import: ["" : 15]>
g (float[4,4] x) => (float[4,4] y, float[4,4] z) {
  e = Sigmoid(x) y = Bernoulli(e) r = RandomUniformLike(e) z = Mul(r, e) }"""


@pytest.mark.parametrize("text", [SEQUENCES, DRAWN])
@pytest.mark.parametrize("step", [ConvertFloat16, ConvertBfloat16])
def test_types_that_follow_in_a_way_of_their_own_stay(
    text: str, step: type[ConvertFloat16] | type[ConvertBfloat16]
) -> None:
    model = store.from_text(text)
    list(step(keep_io=False, keep_ops=()).rewrite(model, Context()))
    proto = onnx.load_from_string(store.serialize(model))
    onnx.checker.check_model(proto, full_check=True)
    assert model.opset_imports[""] < 18 or ops(model)["SplitToSequence"] == 1


def test_what_cuda_has_no_kernel_for_stays_as_a_rule() -> None:
    text = """<ir_version: 10, opset_import: ["" : 22]>
    g (float[1,2,8,8] x) => (float[1,2,4,4] y) <float[2,2,1,1] w = {1, 2, 3, 4}> {
      c = Conv(x, w) t = Tan(c) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(t)
      y = Conv(p, w) }"""
    kept = {}
    for step in (ConvertFloat16(), ConvertBfloat16()):
        model = store.from_text(text)
        notes = list(step.rewrite(model, Context()))
        kept[step.name] = {note.reason.split()[0] for note in notes if "its op asks" in note.reason}
    assert kept == {"convert-float16": {"Tan"}, "convert-bfloat16": {"Tan", "MaxPool"}}
