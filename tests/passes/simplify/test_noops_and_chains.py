"""What golden cases cannot show of no-ops, chains and inlining: size, order, zero sizes, NaN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import pipeline, store
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session

CHAINS = (
    "merge-transposes | merge-casts | merge-slices | merge-concats | merge-gathers"
    " | merge-squeezed-reductions | merge-reshapes"
)
NOOPS = "eliminate-noops | eliminate-repeats | eliminate-broadcasts"


def run(text: str, recipe: str) -> ir.Model:
    return pipeline.run(store.from_text(text), Recipe.parse(recipe)).model


def outputs(model: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    with open_session(model, SessionConfig(optimization="off", threads=1)) as session:
        return [np.asarray(value) for value in session.run(feeds).values()]


def chain(op_types: Sequence[str], count: int) -> ir.Model:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2, 3]))
    current, nodes = x, []
    for index in range(count):
        node = ir.node(op_types[index % len(op_types)], [current])
        current = node.outputs[0]
        current.name = f"t{index}"
        nodes.append(node)
    body = ir.Graph([x], [current], nodes=nodes, opset_imports={"": 17})
    return ir.Model(body, ir_version=8)


def test_long_chains_take_linear_time() -> None:
    model = pipeline.run(chain(["Transpose", "Relu"], 10_000), Recipe.parse(CHAINS)).model
    assert len(model.graph) == 10_000  # a Relu between each two
    model = pipeline.run(chain(["Transpose"], 10_001), Recipe.parse(CHAINS)).model
    assert [node.op_type for node in model.graph] == ["Transpose"]
    model = pipeline.run(chain(["Neg"], 10_001), Recipe.parse(f"({NOOPS})")).model
    assert [node.op_type for node in model.graph] == ["Neg"]


@pytest.mark.parametrize("sizes", [(0, 3), (2, 0), (0, 0), (1, 1), (2, 3)])
def test_empty_batches_reshape_as_before(sizes: tuple[int, int]) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,S,8] x) => (float[N,S,2,4] y, float[N,S,8] w)
    <int64 zero = {0}, int64 one = {1}, int64[1] ax = {0}, int64[2] rest = {2, 4},
     int64[1] eight = {8}>
    { s = Shape(x)  n = Gather(s, zero)  m = Gather(s, one)  n1 = Unsqueeze(n, ax)
      m1 = Unsqueeze(m, ax)  t = Concat<axis = 0>(n1, m1, rest)  y = Reshape(x, t)
      v = Concat<axis = 0>(n1, m1, eight)  w = Reshape(y, v) }"""
    model = run(text, f"(fold-shapes | spell-sizes | {NOOPS} | {CHAINS} | eliminate-dead-nodes)")
    assert sum(node.op_type == "Shape" for node in model.graph) == 0
    feeds = {"x": np.ones((*sizes, 8), dtype=np.float32)}
    before, after = outputs(store.from_text(text), feeds), outputs(model, feeds)
    assert [a.shape for a in before] == [a.shape for a in after]


def test_bounds_keep_nan_and_infinity() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[4] x) => (float[4] y, float[4] z) <float zero = {0}, float six = {6}, float two = {2}>
    { a = Max(x, zero)  y = Min(a, six)  b = Clip(x, zero, six)  z = Clip(b, two) }"""
    model = run(text, "(merge-clips)")
    assert [node.op_type for node in model.graph] == ["Clip", "Clip"]
    feeds = {"x": np.asarray([np.nan, np.inf, -np.inf, 1], dtype=np.float32)}
    for a, b in zip(outputs(store.from_text(text), feeds), outputs(model, feeds), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_inlined_branch_can_be_inlined_again() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y) <bool t = {1}>
    { y = If(t) <then_branch = a () => (float[2] p) {
        p = If(t) <then_branch = c () => (float[2] q) { q = Neg(x) },
                   else_branch = d () => (float[2] r) { r = Exp(x) }> },
      else_branch = b () => (float[2] s) { s = Abs(x) }> }"""
    model = run(text, "(inline-constant-branches)")
    assert [(n.op_type, n.outputs[0].name) for n in model.graph] == [("Neg", "y")]


def test_the_model_that_went_in_keeps_its_weights_names() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y, float[2] z) <bool t = {1}>
    { y = If(t) <then_branch = a () => (float[2] p) <float[2] w = {1, 2}> { p = Mul(x, w) },
                 else_branch = b () => (float[2] s) { s = Abs(x) }>
      z = If(t) <then_branch = c () => (float[2] p) <float[2] w = {3, 4}> { p = Mul(x, w) },
                 else_branch = d () => (float[2] s) { s = Abs(x) }> }"""
    original = store.from_text(text)
    before = store.content_hash(original)
    result = pipeline.run(original, Recipe.parse("inline-constant-branches")).model
    assert store.content_hash(original) == before
    feeds = {"x": np.asarray([1, 2], dtype=np.float32)}
    for a, b in zip(outputs(original, feeds), outputs(result, feeds), strict=True):
        np.testing.assert_array_equal(a, b)


def test_functions_that_would_explode_stay() -> None:
    nested = "\n".join(
        f'<domain: "d", opset_import: ["" : 17, "d" : 1]> f{i} (a) => (b)'
        f" {{ c = d.f{i + 1}(a)  b = d.f{i + 1}(c) }}"
        for i in range(16)
    )
    text = f"""<ir_version: 9, opset_import: ["" : 17, "d" : 1]>
    g (float[2] x) => (float[2] y) {{ y = d.f0(x) }}
    {nested}
    <domain: "d", opset_import: ["" : 17]> f16 (a) => (b) {{ b = Neg(a) }}"""
    result = pipeline.run(store.from_text(text), Recipe.parse("inline-functions"))
    refused = [note for note in result.results[0].notes if note.kind == "refused"]
    assert [note.node for note in refused] == [f"f{i}" for i in range(1, 17)]
    assert all("with all inlined, there were 65536 nodes" in note.reason for note in refused)
    assert sorted(function.name for function in result.model.functions.values()) == sorted(
        note.node for note in refused
    )
    assert [node.op_type for node in result.model.graph] == ["f1", "f1"]
