"""Reconstruction finds the weights that the original's outputs ask for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import pipeline, store
from onnxopt.data import Dataset, in_memory, synthesize
from onnxopt.graph import constant, rewrite_constant
from onnxopt.metrics import Interval
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.signature import signature_of
from onnxopt.targets import load_target
from onnxopt.transform import Context
from onnxopt_models.digits import CALIBRATION, MODEL, TEST
from onnxopt_passes._trial import Outcome
from onnxopt_passes.prune import reconstruct_layers
from onnxopt_passes.prune.reconstruct_layers import ReconstructLayers

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '
LAYERS = {
    "conv": ("[1,4,9,8]", "y = Conv<pads=[1,1,0,1], strides=[2,1]>(x, w, b)", (6, 4, 3, 3), 6),
    "groups": ("[1,4,9,8]", "y = Conv<group=2>(x, w, b)", (6, 2, 2, 3), 6),
    "depthwise": ("[1,4,9,8]", "y = Conv<group=4, pads=[1,1,1,1]>(x, w, b)", (4, 1, 3, 3), 4),
    "transposed": (
        "[1,4,5,6]",
        "y = ConvTranspose<strides=[2,1], pads=[1,0,0,1], dilations=[1,2]>(x, w, b)",
        (4, 3, 3, 2),
        3,
    ),
    "transposed groups": ("[1,4,5,6]", "y = ConvTranspose<group=2>(x, w, b)", (4, 3, 2, 2), 6),
    "gemm": ("[8,5]", "y = Gemm(x, w, b)", (5, 4), 4),
    "gemm, transposed": ("[8,5]", "y = Gemm<transB=1>(x, w, b)", (4, 5), 4),
    "matmul": ("[2,8,5]", "m = MatMul(x, w) y = Add(m, b)", (5, 4), 4),
}


def layer(kind: str) -> ir.Model:
    """A model of one layer with random weights."""
    shape, body, weight, outputs = LAYERS[kind]
    result = "[n,m,h,k]" if "," in shape[5:] else "[n,m]"
    random = np.random.default_rng(0)
    model = store.from_text(
        f"{HEAD}(float{shape} x, float[1] w, float[1] b) => (float{result} y) {{ {body} }}"
    )
    for name, size in (("w", weight), ("b", (outputs,))):
        (value,) = [v for v in model.graph.inputs if v.name == name]
        model.graph.inputs.remove(value)
        array = random.normal(size=size).astype(np.float32)
        value.const_value = ir.tensor(array, name=name)
        value.shape = ir.Shape(array.shape)
        model.graph.register_initializer(value)
    model.graph.outputs[0].shape = None
    return model


def data_of(model: ir.Model, samples: int = 8) -> Dataset:
    return synthesize(signature_of(model), dims={}, seed=0, samples=samples)


def weights(model: ir.Model) -> dict[str, np.ndarray]:
    return {n: np.asarray(constant(v)) for n, v in model.graph.initializers.items()}


def outputs(model: ir.Model, data: Dataset) -> np.ndarray:
    with open_session(model, SessionConfig(spinning=False)) as session:
        runs = [session.run(sample.feeds) for sample in data]
    return np.concatenate([np.ravel(value) for found in runs for value in found.values()])


@pytest.mark.parametrize("kind", LAYERS)
def test_a_weight_that_is_off_is_found_again(kind: str) -> None:
    original = layer(kind)
    model = original.clone()
    random = np.random.default_rng(1)
    for name, array in weights(original).items():
        noise = random.normal(size=array.shape).astype(np.float32)
        rewrite_constant(model.graph.initializers[name], array + noise)
    step = ReconstructLayers(strengths=(1e-8,))
    notes = list(step.rewrite(model, Context(calibration=data_of(original), teacher=original)))
    assert [note.kind for note in notes] == ["applied", "applied"]
    for name, array in weights(original).items():
        np.testing.assert_allclose(weights(model)[name], array, atol=1e-3)


def test_a_conv_without_bias_gets_one() -> None:
    original = layer("conv")
    model = original.clone()
    node = model.graph[0]
    node.resize_inputs(2)
    list(
        ReconstructLayers(strengths=(1e-8,)).rewrite(
            model, Context(calibration=data_of(original), teacher=original)
        )
    )
    np.testing.assert_allclose(
        np.asarray(constant(node.inputs[2])), weights(original)["b"], atol=1e-4
    )


def test_a_block_makes_up_for_its_shortcut() -> None:
    text = f"""{HEAD}(float[1,3,6,6] x) => (float[1,3,6,6] y)
      <float[3,3,1,1] s = {{1,0,0, 0,1,0, 0,0,1}}, float[3,3,1,1] w = {{2,0,1, 0,1,0, 1,1,1}}> {{
      a = Conv(x, s) c = Conv(x, w) y = Add(c, a) }}"""
    original, model = store.from_text(text), store.from_text(text)
    shared = model.graph.initializers["s"]
    rewrite_constant(shared, np.zeros((3, 3, 1, 1), np.float32))
    for node in model.graph:
        if node.outputs[0].name == "a":
            node.outputs[0].name = "lost"
    data = data_of(original, 16)
    list(
        ReconstructLayers(strengths=(1e-8,)).rewrite(
            model, Context(calibration=data, teacher=original)
        )
    )
    np.testing.assert_allclose(outputs(model, data), outputs(original, data), atol=1e-3)


def test_what_is_no_better_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    original = layer("conv")
    model = original.clone()
    random = np.random.default_rng(1)
    rewrite_constant(
        model.graph.initializers["w"], random.normal(size=(6, 4, 3, 3)).astype(np.float32)
    )
    before = weights(model)
    worse = random.normal(size=(1, 6, 37)) * 100
    monkeypatch.setattr("onnxopt_passes.prune.reconstruct_layers.best_change", lambda *_: worse)
    context = Context(calibration=data_of(original), teacher=original)
    (note,) = ReconstructLayers().rewrite(model, context)
    assert (note.kind, note.node) == ("refused", "g")
    assert "as they were" in note.reason
    for name, array in before.items():
        np.testing.assert_array_equal(weights(model)[name], array)


def test_pruned_digits_lose_less_than_half() -> None:
    samples = [{"image": x[None]} for x in np.load(CALIBRATION)["image"][:16]]
    test = in_memory({"image": x[None]} for x in np.load(TEST)["image"][:64])
    original = store.load(MODEL)
    context = Context(target=load_target("x64-vnni"), calibration=in_memory(samples))
    pruned = "exact | prune-channels{importance=l2}"
    recipes = (pruned, f"{pruned} | reconstruct-layers{{positions=2048}}")
    before, after = (
        outputs(pipeline.run(original, Recipe.parse(recipe), context).model, test)
        for recipe in recipes
    )
    expected = outputs(original, test)
    assert np.linalg.norm(after - expected) < 0.4 * np.linalg.norm(before - expected)


def test_one_sample_that_shows_nothing_does_not_decide() -> None:
    """A page without text errs by many times its own size, whatever else is right."""
    collapsed = Outcome(Interval(1.0, 1.0, 1.0, 4), None, (1.0, 1.0, 1.0, 1.0))
    rebuilt = Outcome(Interval(2.4, 0.2, 9.0, 4), None, (0.2, 0.2, 0.2, 9.0))
    assert reconstruct_layers._typical(rebuilt) < 0.6 < reconstruct_layers._typical(collapsed)
    infinite = Outcome(Interval(1.0, 1.0, 1.0, 2), None, (0.1, float("inf")))
    assert reconstruct_layers._typical(infinite) == float("inf")
