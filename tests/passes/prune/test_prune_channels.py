"""The pass: how many channels stay, which, and what is written down."""

from __future__ import annotations

import numpy as np
import pytest
from pruning import model_of

from onnxopt import pipeline, store
from onnxopt.comparing import kept, scaling
from onnxopt.comparing.layerwise import layerwise
from onnxopt.data import synthesize
from onnxopt.errors import RecipeError, UsageError
from onnxopt.graph import constant, rewrite_constant
from onnxopt.recipe import Recipe
from onnxopt.signature import signature_of
from onnxopt.transform import Context
from onnxopt_models.digits import MODEL
from onnxopt_passes.prune._choice import Grain
from onnxopt_passes.prune._coupling import couplings, keep_units
from onnxopt_passes.prune._importance import score_units

TEXT = "(float[2,3,4,4] x) => (float[2,5,4,4] y) { c = Conv(x, u) r = Relu(c) y = Conv(r, w) }"


@pytest.mark.parametrize(
    ("width", "keep", "multiple", "least", "left"),
    [
        (64, 0.7, 8, 8, 48),
        (64, 0.7, 1, 1, 45),
        (64, 0.01, 8, 1, 8),
        (64, 0.01, 1, 12, 12),
        (64, 1.0, 8, 8, 64),
        (12, 0.7, 8, 8, 8),
        (7, 0.5, 8, 8, 7),
        (10, 0.95, 8, 1, 8),
    ],
)
def test_numbers_of_channels(width: int, keep: float, multiple: int, least: int, left: int) -> None:
    (group,) = couplings(model_of(TEXT, u=(width, 3, 1, 1), w=(5, width, 1, 1)))[0]
    assert Grain(multiple, least).nearest(group, keep * group.units) == left


def test_heads_count_for_all_their_channels() -> None:
    model = model_of(
        "(float[2,5,12] x) => (float[2,5,7] y) { q = MatMul(x, wq) k = MatMul(x, wk)"
        " v = MatMul(x, wv) a = Attention<q_num_heads=6, kv_num_heads=6>(q, k, v)"
        " y = MatMul(a, wo) }",
        opset=23,
        wq=(12, 48),
        wk=(12, 48),
        wv=(12, 48),
        wo=(48, 7),
    )
    heads, inner, _ = couplings(model)[0]
    assert (heads.units, inner.units) == (6, 8)
    assert Grain(8, 8).nearest(heads, 0.7 * heads.units) == 4
    assert Grain(8, 8).nearest(inner, 0.7 * inner.units) == 8


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_smallest_go(norm: str) -> None:
    model = model_of(TEXT, u=(16, 3, 1, 1), w=(5, 16, 1, 1))
    weight = np.asarray(constant(model.graph.initializers["u"])).copy()
    weight[::2] *= 0.01
    rewrite_constant(model.graph.initializers["u"], weight)
    (group,) = couplings(model)[0]
    rated = score_units(model, [group], norm, Context())[group.name]  # type: ignore[arg-type]
    assert rated[::2].max() < rated[1::2].min()
    result = pipeline.run(model, Recipe.parse(f"prune-channels{{keep=0.5, importance={norm}}}"))
    left = constant(result.model.graph.initializers["u"])
    np.testing.assert_array_equal(np.asarray(left), weight[1::2])
    assert kept.read(result.model)["r"][0].indices.tolist() == list(range(1, 16, 2))


def test_pruning_twice_is_written_down_as_once() -> None:
    model = model_of(TEXT, u=(32, 3, 1, 1), w=(5, 32, 1, 1))
    once = pipeline.run(model, Recipe.parse("prune-channels{keep=0.25}")).model
    twice = pipeline.run(
        model, Recipe.parse("prune-channels{keep=0.5} | prune-channels{keep=0.5}")
    ).model
    first, second = kept.read(once)["c"][0], kept.read(twice)["c"][0]
    np.testing.assert_array_equal(first.indices, second.indices)
    assert second.size == 32


def test_scales_lose_what_channels_lose() -> None:
    model = model_of(TEXT, u=(16, 3, 1, 1), w=(5, 16, 1, 1))
    scaling.record(model, {"r": scaling.ChannelScale(1, np.arange(1.0, 17.0))})
    keep_units(model, {"c": np.array([2, 5])})
    np.testing.assert_array_equal(scaling.read(model)["r"].scale, [3, 6])


def test_wrong_choices_are_errors() -> None:
    model = model_of(TEXT, u=(16, 3, 1, 1), w=(5, 16, 1, 1))
    for chosen in ({"d": np.array([0])}, {"c": np.array([16])}, {"c": np.array([], np.int64)}):
        with pytest.raises(UsageError):
            keep_units(model, chosen)
    for text in ("keep=0", "keep=1.5", "multiple=0", "scope=odd"):
        with pytest.raises(RecipeError):
            Recipe.parse(f"prune-channels{{{text}}}")


def test_the_embedded_model_loses_half_of_its_weights() -> None:
    model = store.load(MODEL)
    result = pipeline.run(model, Recipe.parse("prune-channels{keep=0.7}"))
    (step,) = result.results
    assert step.after.weight_bytes < 0.65 * step.before.weight_bytes
    data = synthesize(signature_of(model), dims={}, seed=0, samples=2)
    rows = layerwise(model, result.model, data)
    assert rows
    assert all(np.isfinite(row.noise) for row in rows)


def test_choices_for_the_same_graph_are_the_same() -> None:
    model = store.load(MODEL)
    names = [[group.name for group in couplings(model)[0]] for _ in range(2)]
    assert names[0] == names[1]
    again = store.load(store.serialize(model))
    assert names[0] == [group.name for group in couplings(again)[0]]


def test_large_graphs_take_linear_time() -> None:
    """Ten thousand nodes of a residual stream in seconds."""
    import time

    blocks = 2500
    body = " ".join(
        f"a{i} = MatMul(s{i}, u) b{i} = Relu(a{i}) c{i} = MatMul(b{i}, v)"
        f" s{i + 1} = Add(s{i}, c{i})"
        for i in range(blocks)
    )
    model = model_of(
        f"(float[2,3] x) => (float[2,5] y) {{ s0 = MatMul(x, p) {body} y = MatMul(s{blocks}, w) }}",
        p=(3, 8),
        u=(8, 16),
        v=(16, 8),
        w=(8, 5),
    )
    start = time.process_time()
    groups, _ = couplings(model)
    assert {group.units for group in groups} == {8, 16}
    keep_units(model, {group.name: np.arange(4) for group in groups})
    assert time.process_time() - start < 20
