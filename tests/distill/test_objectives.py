"""What outputs say, read from graphs; no torch needed."""

from __future__ import annotations

import pytest

from onnxopt import store
from onnxopt.distill.objectives import Objective, objectives

W = "<float[3,3] w = {1,0,0,0,1,0,0,0,1}, float[3] b = {0,0,0}>"


def read(body: str, shape: str = "N,3", opset: int = 17) -> Objective:
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    g (float[{shape}] x) => (float[{shape}] y) {W} {{ {body} }}"""
    model = store.from_text(text)
    (found,) = objectives(model, model)
    return found


@pytest.mark.parametrize(
    ("body", "kind", "tensor"),
    [
        ("s = MatMul(x, w) y = Softmax(s)", "classes", "s"),
        ("s = MatMul(x, w) y = LogSoftmax(s)", "classes", "s"),
        ("s = MatMul(x, w) p = Softmax(s) y = Identity(p)", "classes", "s"),
        ("s = MatMul(x, w) y = Sigmoid(s)", "gates", "s"),
        ("y = Gemm(x, w, b)", "scores", "y"),
        ("s = MatMul(x, w) y = Add(s, b)", "scores", "y"),
        ("s = MatMul(x, w) y = LpNormalization(s)", "embedding", "y"),
        ("s = MatMul(x, w) n = ReduceL2<axes = [1]>(s) y = Div(s, n)", "embedding", "y"),
        ("s = MatMul(x, w) y = Relu(s)", "numbers", "y"),
        ("y = Mul(x, b)", "numbers", "y"),
        ("y = Softmax(x)", "numbers", "y"),
    ],
)
def test_kinds(body: str, kind: str, tensor: str) -> None:
    found = read(body)
    assert (found.kind, found.teacher, found.student) == (kind, tensor, tensor)


def test_the_axis_of_classes() -> None:
    assert read("s = Relu(x) y = Softmax<axis = 1>(s)", "N,4,3").axis == 1
    assert read("s = Relu(x) y = Softmax<axis = 2>(s)", "N,4,3").axis == -1
    assert read("s = Relu(x) y = Softmax(s)", "N,4,3").axis == -1


def test_softmax_over_several_axes_is_plain_numbers() -> None:
    assert read("s = Relu(x) y = Softmax<axis = 1>(s)", "N,4,3", opset=11).kind == "numbers"
    assert read("s = Relu(x) y = Softmax<axis = 2>(s)", "N,4,3", opset=11).kind == "classes"


def test_models_that_end_differently_are_compared_as_numbers() -> None:
    texts = (
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x) => (float[N,3] y) {W} {{ {b} }}'
        for b in ("s = MatMul(x, w) y = Softmax(s)", "s = MatMul(x, w) y = Sigmoid(s)")
    )
    (found,) = objectives(*map(store.from_text, texts))
    assert (found.kind, found.teacher, found.student) == ("numbers", "y", "y")


def test_a_quantized_end_is_looked_through() -> None:
    float_end = "s = MatMul(x, w) y = Softmax(s)"
    coded = """s = MatMul(x, w) p = Softmax(s)
    q = QuantizeLinear(p, c, z) y = DequantizeLinear(q, c, z)"""
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x) => (float[N,3] y) '
    extra = W.replace(">", ", float c = {0.01}, uint8 z = {0}>")
    found = objectives(
        store.from_text(f"{head} {W} {{ {float_end} }}"),
        store.from_text(f"{head} {extra} {{ {coded} }}"),
    )
    assert [one.kind for one in found] == ["classes"]
