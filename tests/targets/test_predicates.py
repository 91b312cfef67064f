"""The words of ``needs``, one node at a time."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.errors import UsageError
from onnxopt.targets import predicate, predicate_words

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '


def node(inputs: str, body: str, constants: str = "") -> ir.Node:
    weights = f"<{constants}>" if constants else ""
    model = store.from_text(f"{HEAD} ({inputs}) => (float[A,B] y) {weights} {{ {body} }}")
    return next(n for n in model.graph if n.op_type != "Constant")


def last(inputs: str, body: str, constants: str) -> ir.Node:
    first = node(inputs, body, constants)
    assert first.graph is not None
    return list(first.graph)[-1]


def upscale(scales: str, mode: str = "linear", coordinates: str = "half_pixel") -> ir.Node:
    written = f'mode = "{mode}", coordinate_transformation_mode = "{coordinates}"'
    return node(X, f"y = Resize<{written}>(x, , c)", f"float[4] c = {scales}")


X = "float[1,2,4,4] x"
CONV, WEIGHT = "Conv(x, w)", "float[1,2,1,1] w = {1,2}"
GEMM = ("float[3,2] x", "float[2,2] w = {1,2,3,4}, float[2] b = {1,2}, float[3] d = {1,2,3}")
CASES = [
    ("const-weight", node(X, "y = Conv(x, w)", "float[1,2,1,1] w = {1,2}"), True),
    ("const-weight", node(X + ", float[1,2,1,1] w", "y = Conv(x, w)"), "not constant"),
    (
        "const-weight",
        node(X + ", float[1,2,1,1] w", "y = Conv(x, w)", "float[1,2,1,1] w = {1,2}"),
        "not constant",
    ),
    ("const-weight", node(X, "w = Constant<value_float = 1.0>() y = Mul(x, w)"), True),
    ("const-bias", node(X, "y = Conv(x, w)", "float[1,2,1,1] w = {1,2}"), True),
    ("const-bias", node(X + ", float[1] b", "y = Conv(x, x, b)"), "bias is not constant"),
    ("weight-rank-2", node(GEMM[0], "y = MatMul(x, w)", GEMM[1]), True),
    ("weight-rank-2", node("float[3,2] x", "y = MatMul(x, w)", "float[2] w = {1,2}"), "2 axes"),
    ("weight-rank-3", node("float[1,2,4] x", "y = Conv(x, w)", "float[1,2,1] w = {1,2}"), True),
    ("dense", node(X, "y = Conv(x, w)", "float[1,2,1,1] w = {1,2}"), True),
    ("dense", node(X, "y = Conv<group = 2>(x, w)", "float[2,1,1,1] w = {1,2}"), "grouped"),
    ("depthwise", node(X, "y = Conv<group = 2>(x, w)", "float[2,1,1,1] w = {1,2}"), True),
    ("depthwise", node(X, "y = Conv(x, w)", "float[1,2,1,1] w = {1,2}"), "no depthwise"),
    ("fewer-than-8-channels", node(X, "y = Conv(x, w)", "float[1,2,1,1] w = {1,2}"), True),
    ("groups-at-least-64-channels", node(X, "y = Conv(x, w)", "float[1,2,1,1] w = {1,2}"), "64"),
    ("channels-of-4", node(X, "y = Conv(x, w)", "float[1,2,1,1] w = {1,2}"), "multiple of 4"),
    ("channels-of-16", node(X, "y = Conv(x, w)", "float[1,2,1,1] w = {1,2}"), "multiple of 16"),
    ("groups-of-16-channels", node(X, "y = Conv(x, w)", "float[1,2,1,1] w = {1,2}"), "multiple"),
    ("plain-gemm", node(GEMM[0], "y = Gemm(x, w, b)", GEMM[1]), True),
    ("plain-gemm", node(GEMM[0], "y = Gemm<alpha = 2.0>(x, w, b)", GEMM[1]), "scales"),
    ("plain-gemm", node("float[2,3] x", "y = Gemm<transA = 1>(x, w)", GEMM[1]), "transposes"),
    ("bias-per-column", node(GEMM[0], "y = Gemm(x, w)", GEMM[1]), True),
    ("bias-per-column", node(GEMM[0], "y = Gemm<transB = 1>(x, w, b)", GEMM[1]), True),
    ("bias-per-column", node(GEMM[0], "y = Gemm(x, w, d)", GEMM[1]), "one number a column"),
    ("no-constant-operand", node(X, "y = Add(x, x)"), True),
    ("no-constant-operand", node(X, "y = Add(x, c)", "float c = {1}"), "constant"),
    ("rank-4", node(X, "y = Neg(x)"), True),
    ("rank-4", node("float[2] x", "y = Neg(x)"), "four axes"),
    ("rising", node(X, "y = HardSigmoid(x)"), True),
    ("rising", node(X, "y = HardSigmoid<alpha = -0.1>(x)"), "slope"),
    ("rising-line", node(X, "y = Add(x, c)", "float c = {-1}"), True),
    ("rising-line", node(X, "y = Mul(c, x)", "float[1] c = {2}"), True),
    ("rising-line", node(X, "y = Div(x, c)", "float c = {2}"), True),
    ("rising-line", node(X, "y = Div(c, x)", "float c = {2}"), "does not combine"),
    ("rising-line", node(X, "y = Mul(x, c)", "float c = {-2}"), "not positive"),
    ("rising-line", node(X, "y = Mul(x, c)", "float[2] c = {2,2}"), "not one number"),
    ("rising-line", node("float[2] x", "y = Add(x, c)", "float[1,1] c = {2}"), "add axes"),
    ("rising-line", node(X, "y = Add(x, x)"), "does not combine"),
    ("nearest", node(X, 'y = Resize<mode = "nearest">(x, , c)', "float[4] c = {1,1,2,2}"), True),
    (
        "nearest",
        node(X, 'y = Resize<mode = "linear">(x, , c)', "float[4] c = {1,1,2,2}"),
        "interpolates",
    ),
    ("of-silu", node(X, "s = Sigmoid(x) y = Mul(s, x)"), True),
    ("of-silu", node(X, "s = Sigmoid(x) t = Neg(x) y = Mul(s, t)"), "something else"),
    ("of-silu", node(X, "y = Sigmoid(x)"), "something else"),
    ("whole-upscale", upscale("{1,1,2,2}"), True),
    ("whole-upscale", upscale("{1,1,1.5,1.5}"), "whole"),
    ("whole-upscale", upscale("{1,1,2,2}", mode="nearest"), "linearly"),
    ("whole-upscale", upscale("{1,1,2,2}", coordinates="pytorch_half_pixel"), "coordinates"),
    ("before-a-curve", node(X, f"c = {CONV} s = Sigmoid(c) y = Mul(c, s)", WEIGHT), True),
    ("before-a-curve", node(X, f"c = {CONV} y = Relu(c)", WEIGHT), "no curve"),
    ("one-product", last(X, f"c = {CONV} y = Add(c, x)", WEIGHT), True),
    ("one-product", last(X, f"c = {CONV} y = Add(x, c)", WEIGHT), True),
    ("one-product", last(X, f"c = {CONV} r = Relu(c) y = Add(r, x)", WEIGHT), "neither"),
    ("one-product", last(X, f"c = {CONV} d = Neg(c) y = Add(c, d)", WEIGHT), "neither"),
    ("one-product", last(X, f"c = {CONV} y = Add(c, w)", WEIGHT), "constant"),
    ("one-output", node(X, "y = MaxPool<kernel_shape = [2, 2]>(x)"), True),
    ("one-output", node(X, "y, i = MaxPool<kernel_shape = [2, 2]>(x) z = Abs(i)"), "outputs"),
]


@pytest.mark.parametrize(("word", "subject", "expected"), CASES)
def test_verdicts(word: str, subject: ir.Node, expected: bool | str) -> None:
    verdict = predicate(word)(subject)
    if expected is True:
        assert verdict is True
    else:
        assert isinstance(verdict, str)
        assert str(expected) in verdict


def test_every_word_is_tried_here() -> None:
    assert {word for word, _, _ in CASES} == set(predicate_words())


def test_an_unknown_word_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="const-weight"):
        predicate("constant-weight")
