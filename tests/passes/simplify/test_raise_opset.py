"""Old spellings of ops compute the same after raise-opset, and nothing else is touched."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import graph, store
from onnxopt.data import synthesize
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.signature import signature_of
from onnxopt.transform import Context, Note
from onnxopt_passes.simplify.raise_opset import RaiseOpset

# opset, the graph; each computes with a spelling that a later opset lacks
OLD_SPELLINGS = {
    "clip": (9, "(float[2,3] x) => (float[2,3] y) { y = Clip<min = 0.25, max = 0.5>(x) }"),
    "clip-max-only": (9, "(float[2,3] x) => (float[2,3] y) { y = Clip<max = 0.5>(x) }"),
    "clip-of-untyped": (
        9,
        "(float16[2,3] x) => (float16[2,3] y) { a = Neg(x) y = Clip<min = -0.5, max = 0.5>(a) }",
    ),
    "dropout": (7, "(float[2,3] x) => (float[2,3] y) { y = Dropout<ratio = 0.7>(x) }"),
    "flatten-softmax": (11, "(float[2,3,4] x) => (float[2,3,4] y) { y = Softmax(x) }"),
    "flatten-log-softmax": (
        9,
        "(float[2,3,4] x) => (float[2,3,4] y) { y = LogSoftmax<axis = 0>(x) }",
    ),
    "flatten-hardmax": (11, "(float[2,3,4] x) => (float[2,3,4] y) { y = Hardmax<axis = 1>(x) }"),
    "softmax-of-dynamic-sizes": (
        11,
        """(float[N,3,M] x) => (float[N,3,M] y, float[N,3,M] z)
        { a = Softmax(x)  y = Neg(a)  z = Abs(a) }""",
    ),
    "softmax-of-last-axis": (11, "(float[2,3] x) => (float[2,3] y) { y = Softmax<axis = 1>(x) }"),
    "pad-with-value": (
        10,
        "(float16[2,3] x) => (float16[a,b] y) { y = Pad<pads = [0, 1, 1, 0], value = 2.5>(x) }",
    ),
    "reductions": (
        12,
        """(float[2,3,4] x) => (float[3] y)
        { a = ReduceSum<axes = [2], keepdims = 0>(x)  b = ReduceMax<axes = [-1]>(x)
          c = ReduceMean<axes = [0, 2], keepdims = 0>(b)  d = ReduceL2(a)  y = Add(c, d) }""",
    ),
    "resize-10-linear": (
        10,
        """(float[1,1,3,3] x) => (float[1,1,a,b] y) <float[4] s = {1, 1, 2.5, 0.7}>
        { y = Resize<mode = "linear">(x, s) }""",
    ),
    "resize-10-nearest": (
        10,
        """(float[1,1,3,3] x) => (float[1,1,a,b] y) <float[4] s = {1, 1, 2.5, 1.3}>
        { y = Resize<mode = "nearest">(x, s) }""",
    ),
    "scatter": (
        9,
        """(float[3] x) => (float[3] y) <int64[2] i = {0, 2}, float[2] u = {5, 6}>
        { y = Scatter<axis = 0>(x, i, u) }""",
    ),
    "slice": (
        9,
        "(float[4,5] x) => (float[a,b] y) { y = Slice<starts = [1, 0], ends = [3, -1]>(x) }",
    ),
    "slice-axes": (
        9,
        "(float[4,5] x) => (float[4,b] y) { y = Slice<axes = [1], starts = [-2], ends = [9]>(x) }",
    ),
    "split": (
        11,
        "(float[5] x) => (float[2] y, float[3] z) { y, z = Split<split = [2, 3]>(x) }",
    ),
    "squeeze": (
        11,
        """(float[2,1,3] x) => (float[2,1,3,1] y)
        { a = Squeeze<axes = [1]>(x)  y = Unsqueeze<axes = [1, 3]>(a) }""",
    ),
    "squeeze-all": (11, "(float[1,2,1] x) => (float[2] y) { y = Squeeze(x) }"),
    "top-k": (9, "(float[2,5] x) => (float[2,3] y, int64[2,3] i) { y, i = TopK<k = 3>(x) }"),
    "upsample-9-linear": (
        9,
        """(float[1,1,2,3] x) => (float[1,1,a,b] y) <float[4] s = {1, 1, 2, 3}>
        { y = Upsample<mode = "linear">(x, s) }""",
    ),
    "upsample-7-nearest": (
        7,
        """(float[1,1,2,3] x) => (float[1,1,a,b] y)
        { y = Upsample<mode = "nearest", scales = [1.0, 1.0, 2.0, 2.0]>(x) }""",
    ),
    "batch-normalization": (
        8,
        """(float[1,2,3] x) => (float[1,2,3] y)
        <float[2] s = {1, 2}, float[2] b = {3, 4}, float[2] m = {0, 1}, float[2] v = {1, 2}>
        { y = BatchNormalization<spatial = 1>(x, s, b, m, v) }""",
    ),
    "dft": (17, "(float[1,4,3,1] x) => (float[1,4,3,2] y) { y = DFT<axis = 2>(x) }"),
    "dft-default-axis": (17, "(float[1,4,3,1] x) => (float[1,4,3,2] y) { y = DFT(x) }"),
    "in-branches": (
        11,
        """(bool c, float[2,3] x) => (float[2] y)
        { y = If(c)
          <then_branch = t () => (float[2] p) { p = ReduceSum<axes = [1], keepdims = 0>(x) },
           else_branch = e () => (float[2] q) { q = ReduceMax<axes = [1], keepdims = 0>(x) }> }""",
    ),
}


def read(opset: int, text: str) -> ir.Model:
    return store.from_text(f'<ir_version: 6, opset_import: ["" : {opset}]> g {text}')


def outputs(model: ir.Model, reference: ir.Model) -> dict[str, np.ndarray]:
    (sample,) = synthesize(signature_of(reference), dims={}, seed=1, samples=1)
    with open_session(model, SessionConfig(optimization="off", threads=1)) as session:
        return session.run(sample.feeds)


def raise_to(model: ir.Model, to: int, target: object = None) -> list[Note]:
    return list(RaiseOpset(to=to).rewrite(model, Context(target=target)))  # type: ignore[arg-type]


@pytest.mark.parametrize("to", [13, 18, 23])
@pytest.mark.parametrize("name", OLD_SPELLINGS)
def test_an_old_spelling_computes_the_same(name: str, to: int) -> None:
    opset, text = OLD_SPELLINGS[name]
    if to <= opset:
        pytest.skip("already there")
    original, model = read(opset, text), read(opset, text)
    notes = raise_to(model, to)
    assert [note for note in notes if note.kind == "refused"] == []
    assert model.opset_imports[""] == to
    before, after = outputs(original, original), outputs(model, original)
    assert list(before) == list(after)
    for key, value in before.items():
        np.testing.assert_allclose(after[key], value, rtol=1e-5, atol=1e-6)
    names = {v.name for node in graph.all_nodes(original) for v in node.outputs}
    assert names <= {v.name for node in graph.all_nodes(model) for v in node.outputs}
    assert raise_to(model, to) == []


@pytest.mark.parametrize(
    ("opset", "to", "text", "reason"),
    [
        (9, 13, "(float[2] x) => (float[2] y, float[2] m) { y, m = Dropout(x) }", "its mask"),
        (
            10,
            13,
            """(float[1,1,4,4] x) => (float[1,1,a,b] y) <float[4] s = {1, 1, 0.5, 0.5}>
            { y = Resize<mode = "nearest">(x, s) }""",
            "when it shrinks",
        ),
        (10, 13, "(float[4] x, float[1] s) => (float[a] y) { y = Resize(x, s) }", "shrinks"),
        (
            11,
            13,
            """(float[1,1,4,4] x) => (float[1,1,a,b] y)
            <float[8] r = {0, 0, 0, 0, 1, 1, 1, 1}, float[4] s = {1, 1, 2, 2}>
            { y = Resize<coordinate_transformation_mode = "tf_half_pixel_for_nn">(x, r, s) }""",
            "tf_half_pixel_for_nn",
        ),
        (
            6,
            7,
            """(float[2,3] x, float[2] b) => (float[2,3] y)
            { y = Add<axis = 0, broadcast = 1>(x, b) }""",
            "axis",
        ),
        (12, 13, "(float[2] x) => (float[2] y) { y = NoSuchOp(x) }", "no such op"),
        (5, 13, "(float[2] x) => (float[2] y) { y = Relu(x) }", "older than 6"),
    ],
)
def test_a_refusal_leaves_the_model_alone(opset: int, to: int, text: str, reason: str) -> None:
    model = read(opset, text)
    before = store.serialize(model)
    notes = raise_to(model, to)
    assert notes and all(note.kind == "refused" for note in notes)
    assert any(reason in note.reason for note in notes)
    assert store.serialize(model) == before


def test_a_target_caps_the_opset() -> None:
    model = read(12, "(float[2] x) => (float[2] y) { y = Relu(x) }")
    (note,) = raise_to(model, 18, SimpleNamespace(max_opset=17))
    assert note.kind == "refused" and "17" in note.reason
    (note,) = raise_to(model, 17, SimpleNamespace(max_opset=17, max_ir=7))
    assert note.kind == "refused" and "IR version 8" in note.reason
    assert raise_to(model, 17, SimpleNamespace(max_opset=17, max_ir=8))


def test_names_metadata_symbols_and_weights_stay() -> None:
    text = """(float[batch,3] x) => (float[batch,1] y) <float[batch,3] a, float[3] w = {1, 2, 3}>
    { [first] a = Mul(x, w)  [second] y = ReduceMean<axes = [1]>(a) }"""
    model = read(12, text)
    model.graph.doc_string = "a graph"
    model.metadata_props["author"] = "somebody"
    mean = model.graph.node("second")
    mean.metadata_props["layer"] = "7"
    mean.doc_string = "a mean"
    weight = model.graph.initializers["w"].const_value
    raise_to(model, 18)
    assert model.graph.node("second") is mean
    assert (mean.metadata_props["layer"], mean.doc_string) == ("7", "a mean")
    assert (model.graph.doc_string, model.metadata_props["author"]) == ("a graph", "somebody")
    assert str(model.graph.outputs[0].shape) == "[batch,1]"
    assert str(model.graph.node("first").outputs[0].shape) == "[batch,3]"
    assert model.graph.initializers["w"].const_value is weight
    axes = mean.inputs[1]
    assert axes is not None and axes.name == "second/input_1"
