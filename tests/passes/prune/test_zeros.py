"""Pruning by magnitude and N:M: which weights go, and that nothing comes back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import counting, pipeline, store
from onnxopt.data import open_dataset
from onnxopt.errors import DataError, RecipeError
from onnxopt.graph import constant
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.signature import signature_of
from onnxopt.transform import Context, Note
from onnxopt_models import digits
from onnxopt_passes.prune._scores import Keys, least_keys

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model(text: str, **weights: np.ndarray) -> ir.Model:
    """A model with initializers of these values; ``text`` declares none."""
    loaded = store.from_text(HEAD + text)
    for name, array in weights.items():
        (value,) = [v for v in loaded.graph.inputs if v.name == name]
        loaded.graph.inputs.remove(value)
        value.const_value = ir.tensor(array, name=name)
        loaded.graph.register_initializer(value)
    return loaded


def pruned(loaded: ir.Model, recipe: str, **context: Any) -> tuple[ir.Model, Sequence[Note]]:
    result = pipeline.run(loaded, Recipe.parse(recipe), Context(**context))
    return result.model, result.results[-1].notes


def weight(loaded: ir.Model, name: str) -> np.ndarray:
    found = constant(loaded.graph.initializers[name])
    assert found is not None
    return np.asarray(found)


def shares(loaded: ir.Model) -> dict[str, float]:
    return {one.weight: one.share for one in counting.sparsity(loaded)}


TWO = """(float[3,8] x, float[8,16] a, float[16,4] b) => (float[3,4] y)
    { h = MatMul(x, a)  y = MatMul(h, b) }"""


def two(factor: float = 100) -> ir.Model:
    return model(TWO, a=numbers(8, 16), b=factor * numbers(16, 4, seed=1))


@pytest.mark.parametrize("score", ["magnitude", "l1", "l2", "lamp"])
@pytest.mark.parametrize("scope", ["global", "layer", "output"])
def test_the_amount_is_met_and_repeating_changes_nothing(scope: str, score: str) -> None:
    step = f"prune-magnitude{{amount=0.375, scope={scope}, score={score}}}"
    once, notes = pruned(two(), step)
    found = counting.sparsity(once)
    assert sum(one.zeros for one in found) == 0.375 * sum(one.elements for one in found)
    if scope != "global":
        assert set(shares(once).values()) == {0.375}
    assert notes[-1].figures["share"] == 0.375
    again, notes = pruned(once, step)
    assert store.same_graph(once, again) is None
    assert [note.kind for note in notes] == ["refused"]


def test_a_schedule_never_lets_a_weight_return() -> None:
    first, _ = pruned(two(), "prune-magnitude{amount=0.3}")
    last, _ = pruned(first, "prune-magnitude{amount=0.5}")
    direct, _ = pruned(two(), "prune-magnitude{amount=0.5}")
    for name in "ab":
        assert not weight(last, name)[weight(first, name) == 0].any()
        np.testing.assert_array_equal(weight(last, name), weight(direct, name))
    less, notes = pruned(last, "prune-magnitude{amount=0.2}")
    assert store.same_graph(last, less) is None
    assert "50.0%) as it is" in notes[-1].reason


def test_scores_that_compare_layers() -> None:
    plain, _ = pruned(two(1e6), "prune-magnitude{score=magnitude}")
    assert shares(plain) == {"a": 96 / 128, "b": 0}
    for score in ("l1", "l2", "lamp"):
        fair, _ = pruned(two(), f"prune-magnitude{{score={score}}}")
        same, _ = pruned(two(1), f"prune-magnitude{{score={score}}}")
        for name in "ab":
            np.testing.assert_array_equal(weight(fair, name) == 0, weight(same, name) == 0)
        assert min(shares(fair).values()) > 0.2


def test_what_stays_is_greater_than_what_goes() -> None:
    after, _ = pruned(two(2), "prune-magnitude{amount=0.4, score=magnitude}")
    before = np.concatenate([weight(two(2), name).ravel() for name in "ab"])
    kept = np.concatenate([weight(after, name).ravel() for name in "ab"]) != 0
    assert np.abs(before[~kept]).max() < np.abs(before[kept]).min()


def test_a_shared_weight_counts_once_and_every_reader_sees_it() -> None:
    loaded = model(
        "(float[2,4] x, float[4,4] w, float[4,4] v) => (float[2,4] y)"
        "{ a = MatMul(x, w)  b = MatMul(a, w)  y = MatMul(b, v) }",
        w=numbers(4, 4),
        v=2 * numbers(4, 4),
    )
    after, notes = pruned(loaded, "prune-magnitude")
    assert notes[-1].figures["weights"] == 32
    assert [node.inputs[1].name for node in after.graph] == ["w", "w", "v"]
    assert sum(np.count_nonzero(weight(after, name) == 0) for name in "wv") == 16


def test_an_amount_of_nothing_and_ties() -> None:
    ones = model("(float[2,2] x, float[2,3] w) => (float[2,3] y) { y = MatMul(x, w) }",
                 w=np.ones((2, 3), np.float32))  # fmt: skip
    after, notes = pruned(ones, "prune-magnitude{amount=0.0}")
    assert notes[-1].kind == "refused" and weight(after, "w").all()
    after, _ = pruned(ones, "prune-magnitude{amount=0.5}")
    np.testing.assert_array_equal(weight(after, "w"), [[0, 0, 0], [1, 1, 1]])


@pytest.mark.parametrize("score", ["magnitude", "l1", "l2", "lamp"])
def test_nan_stays_and_every_float_type_keeps_its_type(score: str) -> None:
    for dtype in (ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16):
        array = np.array([[np.nan, 1], [2, -3]]).astype(dtype.numpy())
        name = {"FLOAT16": "float16", "DOUBLE": "double", "BFLOAT16": "bfloat16"}[dtype.name]
        loaded = model(
            f"({name}[2,2] x, {name}[2,2] w) => ({name}[2,2] y) {{ y = MatMul(x, w) }}", w=array
        )
        after, _ = pruned(loaded, f"prune-magnitude{{score={score}}}")
        found = weight(after, "w")
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found.astype(np.float64), [[np.nan, 0], [0, -3]])


def test_activations_need_data() -> None:
    with pytest.raises(DataError, match="no calibration data"):
        pruned(two(), "prune-magnitude{score=activation}")


def test_activations_of_every_kind_of_layer(tmp_path: Path) -> None:
    loaded = model(
        """(float[N,4,3,3] x, float[4,2,1,1] c, float[4,3,1,1] t, float[2,2] left, float[4,2] r)
        => (float[N,4,3,3] y, float[N,3,3,3] u, float[2,N] k) {
        y = Conv<group = 2>(x, c)
        u = ConvTranspose(x, t)
        p = ReduceMean<axes = [2, 3], keepdims = 0>(x)
        q = Gemm<transA = 1, transB = 1>(r, p)
        k = MatMul(left, q) }""",
        c=np.array([1, 2, 2, 1, 1, 2, 2, 1], np.float32).reshape(4, 2, 1, 1),
        t=np.arange(1, 13, dtype=np.float32).reshape(4, 3, 1, 1),
        r=np.array([[1, 0], [1, 1], [1, 2], [1, 500]], np.float32),
        left=np.array([[2, 1], [1, 2]], np.float32),
    )
    x = np.abs(numbers(5, 4, 3, 3))
    x[:, [0, 3]] *= 100
    np.savez(tmp_path / "d.npz", x=x)
    data = open_dataset(str(tmp_path / "d.npz"), signature_of(loaded))
    step = "prune-magnitude{score=activation, scope=output}"
    after, notes = pruned(loaded, step, calibration=data)
    assert not [note for note in notes if note.kind == "refused"]
    kept = {name: weight(after, name) != 0 for name in ("c", "t", "r", "left")}
    np.testing.assert_array_equal(kept["c"].reshape(4, 2), [[1, 0], [1, 0], [0, 1], [0, 1]])
    np.testing.assert_array_equal(kept["t"].reshape(4, 3)[[0, 3]], np.ones((2, 3)))
    np.testing.assert_array_equal(kept["r"][[0, 3]], [[1, 0], [1, 1]])
    np.testing.assert_array_equal(kept["left"], [[0, 1], [0, 1]])


def test_what_bodies_multiply_cannot_be_calibrated(tmp_path: Path) -> None:
    loaded = model(
        """(float[N,2] x, bool c, float[2,2] w) => (float[N,2] y) { y = If (c) <
        then_branch = t () => (float[N,2] p) { n = Neg(x)  p = MatMul(n, w) },
        else_branch = e () => (float[N,2] q) { q = Neg(x) }> }""",
        w=numbers(2, 2),
    )
    np.savez(tmp_path / "d.npz", x=numbers(4, 2), c=np.array([True]))
    data = open_dataset(str(tmp_path / "d.npz"), signature_of(loaded))
    _, notes = pruned(loaded, "prune-magnitude{score=activation}", calibration=data)
    assert "cannot be calibrated" in notes[0].reason
    after, _ = pruned(loaded, "prune-magnitude")
    assert np.count_nonzero(weight(after, "w")) == 2


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8)])
def test_n_of_m_along_what_each_layer_sums(n: int, m: int) -> None:
    loaded = model(
        """(float[2,8,5,5] x, float[6,8,3,3] c, float[8,4,2,2] t, float[9,1,8] s, float[1,12,8] lw,
        float[1,12,3] lr, float[8,8] gt, float[8,8] left, float[8,3] r)
        => (float[2,6,3,3] y, float[2,4,6,6] u, float[9,1,1,3] h, float[8,3] g, float[8,3] k) {
        y = Conv(x, c)
        u = ConvTranspose(x, t)
        h = LSTM<hidden_size = 3>(s, lw, lr)
        g = Gemm<transA = 1>(gt, r)
        k = MatMul(left, r) }""",
        c=numbers(6, 8, 3, 3),
        t=numbers(8, 4, 2, 2),
        lw=numbers(1, 12, 8),
        lr=numbers(1, 12, 3),
        gt=numbers(8, 8),
        left=numbers(8, 8, seed=2),
    )
    after, notes = pruned(loaded, f"prune-n-of-m{{n={n}, m={m}}}")
    refused = [note.reason for note in notes if note.kind == "refused"]
    assert refused == [f"its products sum over 3 channels, which is no multiple of {m}"]
    for name, axis in {"c": 1, "t": 0, "lw": 2, "gt": 0, "left": 1}.items():
        before = np.moveaxis(weight(loaded, name), axis, -1).reshape(-1, m)
        rows = np.moveaxis(weight(after, name), axis, -1).reshape(-1, m)
        assert (np.count_nonzero(rows, axis=1) == n).all(), name
        kept = np.sort(np.abs(before), axis=1)[:, -n:].sum()
        np.testing.assert_allclose(np.abs(rows).sum(), kept, rtol=1e-6)
    found = {one.weight: one.pattern for one in counting.sparsity(after)}
    assert found["c"] == f"{n}:{m}" and found["lr"] == ""
    again, notes = pruned(after, f"prune-n-of-m{{n={n}, m={m}}}")
    assert store.same_graph(after, again) is None


def test_n_of_m_keeps_zeros_and_follows_magnitude_pruning() -> None:
    first, _ = pruned(two(), "prune-magnitude{amount=0.8, scope=layer}")
    after, _ = pruned(first, "prune-n-of-m")
    for name in "ab":
        assert not weight(after, name)[weight(first, name) == 0].any()
        rows = weight(after, name).T.reshape(-1, 4)
        assert np.count_nonzero(rows, axis=1).max() <= 2


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("prune-magnitude{amount=0.3, threshold=0.1}", "amount next to threshold"),
        ("prune-magnitude{amount=1.0}", "less than 1"),
        ("prune-magnitude{amount=-0.1}", "greater than or equal to 0"),
        ("prune-magnitude{op_types=[Gather]}", "'op_types.0'"),
        ("prune-n-of-m{n=4}", "n=4 with m=4"),
        ("prune-n-of-m{n=0}", "greater than or equal to 1"),
    ],
)
def test_options_are_checked(recipe: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.parse(recipe)


def test_the_least_keys_are_those_of_sorting() -> None:
    rng = np.random.default_rng(0)
    parts: list[Keys] = [
        rng.integers(0, top, 1000, dtype=np.uint32) for top in (5, 70_000, 2**32 - 1)
    ]
    flat = np.sort(np.concatenate(parts))
    for count in (1, 2, 999, 1000, 1500, 2999, 3000):
        bound, ties = least_keys(parts, count)
        assert bound == flat[count - 1]
        assert ties == count - np.count_nonzero(flat < bound)


def test_digits_without_a_third_of_its_weights_still_reads() -> None:
    exact = pipeline.run(store.load(digits.MODEL), Recipe.parse("exact")).model
    after, _ = pruned(exact, "prune-magnitude{amount=0.3}")
    with np.load(digits.CALIBRATION) as archive:
        labels = archive["labels"][:100]
        (name,) = [key for key in archive if key != "labels"]
        images = archive[name][:100]
    with open_session(after, SessionConfig(threads=1)) as session:
        feeds = after.graph.inputs[0].name or ""
        outputs = [next(iter(session.run({feeds: image[None]}).values())) for image in images]
    right = [int(np.argmax(out)) == label for out, label in zip(outputs, labels, strict=True)]
    assert np.mean(right) > 0.9
