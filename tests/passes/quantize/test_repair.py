"""Repair: equalization and smoothing change nothing but the noise, corrections reduce it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import pipeline, store
from onnxopt.comparing import scaling
from onnxopt.comparing.layerwise import layerwise
from onnxopt.data import Dataset, in_memory, synthesize
from onnxopt.graph import constant
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.signature import signature_of
from onnxopt.targets import load_target
from onnxopt.transform import Context
from onnxopt_models.digits import CALIBRATION, MODEL, TEST
from onnxopt_passes.quantize._evidence import Amount, Evidence, walk_layers
from onnxopt_passes.quantize.correct_bias import CorrectBias

PLACED = 'quantize-static{placement=all, op-types=["MatMul"]}'
STATIC = "quantize-static{placement=all}"


def data_of(model: ir.Model, samples: int = 24) -> Dataset:
    return synthesize(signature_of(model), dims={}, seed=0, samples=samples)


def run(
    model: ir.Model, recipe: str, data: Dataset | None = None, target: str = "x64-vnni"
) -> ir.Model:
    data = data or data_of(model)
    context = Context(target=load_target(target), calibration=data)
    return pipeline.run(model, Recipe.parse(recipe), context).model


def outputs(model: ir.Model, data: Dataset) -> np.ndarray:
    with open_session(model, SessionConfig(spinning=False)) as session:
        runs = [session.run(sample.feeds) for sample in data]
    return np.concatenate([np.ravel(value) for found in runs for value in found.values()])


def error(before: ir.Model, after: ir.Model, data: Dataset) -> float:
    a, b = outputs(before, data), outputs(after, data)
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


@pytest.fixture
def uneven(make: Callable[..., ir.Model]) -> ir.Model:
    """Three layers, the channels between them from 1 to 100 in size."""
    model = make(
        "(float[1,3,8,8] x) => (float[1,5,8,8] y) { c = Conv(x, u, b) r = Relu(c)"
        " d = Conv<group=8, pads=[1,1,1,1]>(r, v) y = Conv(d, w) }",
        u=(8, 3, 1, 1),
        b=(8,),
        v=(8, 1, 3, 3),
        w=(5, 8, 1, 1),
    )
    factors = np.logspace(0, 2, 8).astype(np.float32).reshape(-1, 1, 1, 1)
    for name, factor in {"u": factors, "v": 1 / factors}.items():
        value = model.graph.initializers[name]
        value.const_value = ir.tensor(np.asarray(constant(value)) * factor, name=name)
    return model


def test_equalizing_changes_nothing_but_the_noise(uneven: ir.Model) -> None:
    data = data_of(uneven)
    equal = run(uneven, "equalize-channels")
    np.testing.assert_allclose(outputs(equal, data), outputs(uneven, data), rtol=1e-4, atol=1e-5)
    before, after = (error(uneven, run(m, STATIC), data) for m in (uneven, equal))
    assert before > 0.15
    assert after < 0.02


def test_what_was_divided_is_written_down(uneven: ir.Model) -> None:
    equal = run(uneven, "equalize-channels")
    assert scaling.read(equal).keys() == {"c", "r", "d"} & scaling.read(equal).keys()
    assert "c" in scaling.read(equal)
    rows = layerwise(uneven, equal, data_of(uneven, 2))
    assert {row.name for row in rows} == {"c", "r", "d", "y"}
    assert max(row.error for row in rows) < 1e-5


def test_equalizing_twice_changes_nothing_more(uneven: ir.Model) -> None:
    once = run(uneven, "equalize-channels")
    twice = run(uneven, "equalize-channels | equalize-channels")
    assert store.same_graph(once, twice) is None


def test_corrections_understand_scaled_tensors(uneven: ir.Model) -> None:
    data = data_of(uneven)
    plain = error(uneven, run(uneven, f"equalize-channels | {STATIC}"), data)
    for repair in ("correct-bias", "refine-rounding"):
        mended = run(uneven, f"equalize-channels | {STATIC} | {repair}")
        assert error(uneven, mended, data) < plain


def test_add_scales_all_or_nothing(make: Callable[..., ir.Model]) -> None:
    text = (
        "(float[1,2,4,4] x) => (float[1,2,4,4] y) { a = Conv(x, u) b = Conv(x, v)"
        " s = Add(a, b) r = Relu(s) y = Conv(r, w) }"
    )
    model = make(text, u=(2, 2, 1, 1), v=(2, 2, 1, 1), w=(2, 2, 1, 1))
    for name in "uv":
        value = model.graph.initializers[name]
        factor = np.array([1, 200], np.float32).reshape(-1, 1, 1, 1)
        value.const_value = ir.tensor(np.asarray(constant(value)) * factor, name=name)
    equal = run(model, "equalize-channels")
    assert scaling.read(equal).keys() == {"a", "b", "s", "r"}
    data = data_of(model)
    np.testing.assert_allclose(outputs(equal, data), outputs(model, data), rtol=1e-4, atol=1e-4)


def test_a_layer_may_read_and_make_the_same_chain(make: Callable[..., ir.Model]) -> None:
    text = (
        "(float[1,2,4,4] x) => (float[1,2,4,4] y) { c = Conv(x, u) r = Relu(c) d = Conv(r, v)"
        " s = Add(r, d) y = Conv(s, w) }"
    )
    model = make(text, u=(2, 2, 1, 1), v=(2, 2, 1, 1), w=(2, 2, 1, 1))
    value = model.graph.initializers["u"]
    factor = np.array([1, 200], np.float32).reshape(-1, 1, 1, 1)
    value.const_value = ir.tensor(np.asarray(constant(value)) * factor, name="u")
    equal = run(model, "equalize-channels")
    assert scaling.read(equal).keys() == {"c", "r", "d", "s"}
    data = data_of(model)
    np.testing.assert_allclose(outputs(equal, data), outputs(model, data), rtol=1e-4, atol=1e-3)


def test_rows_of_an_image_are_not_its_channels(make: Callable[..., ir.Model]) -> None:
    text = "(float[1,2,4,2] x) => (float[1,2,4,2] y) { c = Conv(x, u) y = MatMul(c, w) }"
    model = make(text, u=(2, 2, 1, 1), w=(2, 2))
    assert not scaling.read(run(model, "equalize-channels"))


@pytest.fixture
def outliers(make: Callable[..., ir.Model]) -> ir.Model:
    """Two layers that read a tensor with columns from 1 to 100 in size."""
    model = make(
        "(float[1,6,16] x) => (float[1,6,8] y, float[1,6,16] k) { k = Mul(x, f)"
        " p = MatMul(k, u) q = MatMul(k, v) y = Add(p, q) }",
        f=(16,),
        u=(16, 8),
        v=(16, 8),
    )
    column = np.logspace(-1, 1, 16).astype(np.float32)
    for name, array in {"f": column, "u": None, "v": None}.items():
        value = model.graph.initializers[name]
        old = np.asarray(constant(value)) / (column[:, None] if array is None else 1)
        value.const_value = ir.tensor(
            (old if array is None else array).astype(np.float32), name=name
        )
    return model


def test_smoothing_adds_one_mul_for_all_readers(outliers: ir.Model) -> None:
    data = data_of(outliers)
    smooth = run(outliers, "smooth-activations")
    np.testing.assert_allclose(outputs(smooth, data), outputs(outliers, data), rtol=1e-4, atol=1e-4)
    made = [node for node in smooth.graph if node.op_type == "Mul"]
    assert [node.outputs[0].name for node in made] == ["k", "k/smooth"]
    matmuls = [node for node in smooth.graph if node.op_type == "MatMul"]
    assert {node.inputs[0].name for node in matmuls} == {"k/smooth"}
    assert store.same_graph(smooth, run(smooth, "smooth-activations")) is None


def test_smoothing_reduces_the_error_and_corrections_follow(outliers: ir.Model) -> None:
    data = data_of(outliers)
    plain = error(outliers, run(outliers, PLACED), data)
    smooth = error(outliers, run(outliers, f"smooth-activations | {PLACED}"), data)
    assert smooth < 0.6 * plain
    mended = run(outliers, f"smooth-activations | {PLACED} | refine-rounding")
    assert error(outliers, mended, data) <= smooth * 1.05


def test_a_layer_normalization_takes_the_scale_for_nothing(make: Callable[..., ir.Model]) -> None:
    model = make(
        "(float[1,6,16] x) => (float[1,6,8] y) { n = LayerNormalization(x, f, b)"
        " y = MatMul(n, u) }",
        f=(16,),
        b=(16,),
        u=(16, 8),
    )
    value = model.graph.initializers["f"]
    value.const_value = ir.tensor(np.logspace(-1, 1, 16).astype(np.float32), name="f")
    value = model.graph.initializers["u"]
    scaled = np.asarray(constant(value)) / np.logspace(-1, 1, 16)[:, None]
    value.const_value = ir.tensor(scaled.astype(np.float32), name="u")
    smooth = run(model, "smooth-activations")
    assert [node.op_type for node in smooth.graph] == ["LayerNormalization", "MatMul"]
    assert scaling.read(smooth).keys() == {"n"}
    data = data_of(model)
    np.testing.assert_allclose(outputs(smooth, data), outputs(model, data), rtol=1e-4, atol=1e-4)


def test_layers_of_zeros_are_left_alone(outliers: ir.Model) -> None:
    """As initialized: what they make has no noise that a scale could spare."""
    for name in "uv":
        value = outliers.graph.initializers[name]
        value.const_value = ir.tensor(np.zeros_like(constant(value)), name=name)
    assert store.same_graph(outliers, run(outliers, "smooth-activations")) is None
    data = data_of(outliers)
    found = run(outliers, f"smooth-activations | {PLACED} | refine-rounding")
    assert any(node.op_type == "QuantizeLinear" for node in found.graph)
    np.testing.assert_allclose(outputs(found, data), outputs(outliers, data), atol=0.2)


@pytest.mark.parametrize(
    ("repair", "expected"), [("correct-bias", 0.0118), ("refine-rounding", 0.0095)]
)
def test_the_error_of_the_embedded_model(repair: str, expected: float) -> None:
    """Without repair it is .018."""
    data = in_memory({"image": x[None]} for x in np.load(CALIBRATION)["image"][:32])
    test = in_memory({"image": x[None]} for x in np.load(TEST)["image"][:64])
    exact = run(store.load(MODEL), "exact")
    mended = run(exact, f"quantize-static | {repair}", data)
    assert error(exact, mended, test) == pytest.approx(expected, rel=0.25)


def test_corrected_means_are_right(uneven: ir.Model) -> None:
    data = data_of(uneven, 32)
    mended = run(uneven, f"{STATIC} | correct-bias", data)
    before = outputs(uneven, data).reshape(32, 5, -1)
    after = outputs(mended, data).reshape(32, 5, -1)
    left = np.abs((after - before).mean(axis=(0, 2))) / np.abs(before).max()
    assert left.max() < 5e-3


def test_weights_of_seven_bits_stay_so(uneven: ir.Model) -> None:
    mended = run(uneven, f"{STATIC} | refine-rounding", target="x64-avx2")
    codes = [np.asarray(constant(v)) for n, v in mended.graph.initializers.items() if n[1:] == "/q"]
    weights = [array for array in codes if array.dtype == np.int8]
    assert weights
    assert max(np.abs(array.astype(int)).max() for array in weights) <= 63


def test_a_layer_without_a_twin_is_left_alone(uneven: ir.Model) -> None:
    quantized = run(uneven, STATIC)
    next(node for node in quantized.graph if node.op_type == "Conv").outputs[0].name = "renamed"
    context = Context(calibration=data_of(uneven), teacher=uneven)
    notes = list(CorrectBias().rewrite(quantized, context))
    assert any("does not make" in note.reason for note in notes if note.kind == "refused")


@pytest.mark.parametrize(("target", "in_codes"), [("x64-vnni", True), ("tensorrt", False)])
def test_a_new_bias_is_of_the_targets_kind(uneven: ir.Model, target: str, in_codes: bool) -> None:
    """``d`` has no bias; its mean error asks for one, in codes or in float."""
    after = run(uneven, f"{STATIC} | refine-rounding", target=target)
    (node,) = (n for n in after.graph if n.op_type == "Conv" and n.inputs[1].name == "v")
    bias = node.inputs[2]
    assert bias is not None
    assert (bias.producer() is not None) == in_codes


def test_float_layers_ahead_of_all_codes_are_left_out(make: Callable[..., ir.Model]) -> None:
    model = make(
        "(float[4,8] x) => (float[4,4] y) { a = MatMul(x, u) r = Relu(a) b = MatMul(r, v)"
        " s = Relu(b) y = MatMul(s, w) }",
        u=(8, 8),
        v=(8, 8),
        w=(8, 4),
    )
    data = data_of(model)
    quantized = run(model, "quantize-static{placement=all, only=[b]}", data)
    context = Context(target=load_target("x64-vnni"), calibration=data, teacher=model)
    found = [one for one in walk_layers(quantized, context, Amount(4)) if isinstance(one, Evidence)]
    assert [(one.layer.twin.outputs[0].name, one.layer.in_codes) for one in found] == [
        ("b", True),
        ("y", False),
    ]


def test_a_layer_of_few_inputs_is_looked_at_in_fewer_positions(
    make: Callable[..., ir.Model],
) -> None:
    model = make(
        "(float[1,64,32,32] x) => (float[1,64,32,32] y)"
        " { a = Conv<group=64, pads=[1,1,1,1]>(x, u) y = Conv(a, v) }",
        u=(64, 1, 3, 3),
        v=(64, 64, 1, 1),
    )
    data = data_of(model, 4)
    quantized = run(model, STATIC, data)
    context = Context(target=load_target("x64-vnni"), calibration=data, teacher=model)
    amount = Amount(4, 2000)
    found = [one for one in walk_layers(quantized, context, amount) if isinstance(one, Evidence)]
    assert [one.inputs.shape for one in found] == [(64, 1024, 9), (1, 1024, 64)]
    assert Amount(4, 900).rows(found[1].layer, 4) == 225
