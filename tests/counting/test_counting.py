"""Multiply-accumulates of every kind of product, parameters, and the zeros of layers."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import counting, store
from onnxopt.api.counting import counted, sizes_of
from onnxopt.errors import UsageError
from onnxopt.graph import rewrite_constant

HEAD = '<ir_version: 10, opset_import: ["" : 23, "com.microsoft" : 1]> g '


def model(text: str) -> ir.Model:
    """A model; constants without values are all ones."""
    declared = re.compile(r"=> \([^)]*\)\s*<([^>]*)>")
    return store.from_text(
        HEAD + declared.sub(lambda m: m[0].replace(m[1], _filled(m[1])), text, count=1)
    )


def _filled(declarations: str) -> str:
    def ones(match: re.Match[str]) -> str:
        count = int(np.prod([int(size) for size in match[1].split(",")]))
        return f"{match[0]} = {{{', '.join(['1'] * count)}}}"

    return re.sub(r"\w+\[([\d,]+)\] \w+(?! = |\w)", ones, declarations)


PRODUCTS = {
    # outputs × inputs of a group × kernel
    "(float[2,4,8,8] x) => (float[2,6,6,6] y) <float[6,2,3,3] w>{ y = Conv<group = 2>(x, w) }": 2
    * 6
    * 6
    * 6
    * 2
    * 9,
    # inputs × outputs of a group × kernel
    "(float[1,4,5,5] x) => (float[1,3,10,10] y) <float[4,3,2,2] w>"
    "{ y = ConvTranspose<strides = [2, 2]>(x, w) }": 4 * 25 * 3 * 4,
    "(float[5,3] x) => (float[3,7] y) <float[7,5] w>{ y = Gemm<transA = 1, transB = 1>(x, w) }": 3
    * 7
    * 5,
    "(float[2,3,5] x, float[5,7] w) => (float[2,3,7] y) { y = MatMul(x, w) }": 2 * 3 * 7 * 5,
    "(float[5] x) => (float[7] y) <float[5,7] w> { y = MatMul(x, w) }": 35,
    # 4 gates × (input + hidden) × hidden, each step, both directions
    "(float[9,2,5] x) => (float[9,2,2,3] y) <float[2,12,5] w, float[2,12,3] r>"
    '{ y = LSTM<hidden_size = 3, direction = "bidirectional">(x, w, r) }': 9 * 2 * 2 * 12 * 8,
    "(float[9,2,5] x) => (float[9,1,2,3] y) <float[1,9,5] w, float[1,9,3] r>"
    "{ y = GRU<hidden_size = 3>(x, w, r) }": 9 * 2 * 9 * 8,
    '(float[2,3,4] a, float[2,4,5] b) => (float[2,3,5] y) { y = Einsum<equation = "bij,bjk->bik">'
    "(a, b) }": 2 * 3 * 4 * 5,
    '(float[2,3,4] a, float[4,5] b) => (float[2,3,5] y) { y = Einsum<equation = "...j,jk->...k">'
    "(a, b) }": 2 * 3 * 4 * 5,
    # B × heads × queries × keys × (Q and K's width + V's)
    "(float[2,4,6,8] q, float[2,4,7,8] k, float[2,4,7,5] v) => (float[2,4,6,5] y)"
    "{ y = Attention(q, k, v) }": 2 * 4 * 6 * 7 * (8 + 5),
    "(float[2,6,32] q, float[2,7,32] k, float[2,7,32] v) => (float[2,6,32] y)"
    "{ y = com.microsoft.MultiHeadAttention<num_heads = 4>(q, k, v) }": 2 * 6 * 7 * 64,
    "(float[2,6,16] x) => (float[2,6,16] y) <float[16,48] w, float[48] b>"
    "{ y = com.microsoft.Attention<num_heads = 4>(x, w, b) }": 2 * 6 * (16 * 48 + 6 * 32),
    "(uint8[1,3,6,6] x) => (uint8[1,8,4,4] y) <float s = {1}, uint8 z = {0}, int8[8,3,3,3] w,"
    " int8 n = {0}> { y = QLinearConv(x, s, z, w, s, n, s, z) }": 8 * 16 * 27,
    "(float[1,3,6,6] x) => (float[1,8,4,4] y) <float s = {1}, int8 z = {0}, int8[8,3,3,3] w>"
    "{ d = DequantizeLinear(w, s, z)  y = Conv(x, d) }": 8 * 16 * 27,
    "(float[4,64] x) => (float[4,8] y) <uint8[8,2,32] w, float[8,2] s>"
    "{ y = com.microsoft.MatMulNBits<K = 64, N = 8, bits = 8, block_size = 32>(x, w, s) }": 4
    * 8
    * 64,
    "(float[4,64] x) => (float[4,64] y) { a = Relu(x)  y = Add(a, a) }": 0,
}


@pytest.mark.parametrize("text", PRODUCTS)
def test_products(text: str) -> None:
    found = counted(model(text)).count
    assert found.macs == PRODUCTS[text]
    assert not found.uncounted


def test_open_dimensions_are_one_unless_given() -> None:
    loaded = model("(float[N,3,H,H] x) => (float[N,4,A,B] y) <float[4,3,1,1] w> { y = Conv(x, w) }")
    found = counted(loaded)
    assert (found.count.macs, found.assumed) == (12, ("N", "H"))
    found = counted(loaded, {"H": 8})
    assert (found.count.macs, found.assumed, found.sizes) == (12 * 64, ("N",), {"N": 1, "H": 8})
    assert counted(loaded, {"x:0": 2, "H": 8}).count.macs == 2 * 12 * 64
    feeds = {"x": np.zeros((2, 3, 4, 4), np.float32)}
    assert sizes_of(loaded, feeds) == {"N": 2, "H": 4}
    with pytest.raises(UsageError, match="no open dimension 'Q'; wanted one of N, H"):
        counted(loaded, {"Q": 1})
    with pytest.raises(UsageError, match="size 0 of N"):
        counted(loaded, {"N": 0})


def test_sizes_that_follow_from_constants_are_found() -> None:
    loaded = model(
        "(float[N,4,6] x) => (float[A,B] y) <float[24,5] w, int64[1] rest = {-1}, int64[1] zero ="
        " {0}> { s = Shape(x)  n = Gather(s, zero)  t = Concat<axis = 0>(n, rest)"
        "  f = Reshape(x, t)  y = MatMul(f, w) }"
    )
    assert counted(loaded, {"N": 3}).count.macs == 3 * 24 * 5
    assert loaded.graph.outputs[0].shape == ir.Shape(["A", "B"])


def test_what_cannot_be_sized_is_named() -> None:
    loaded = model(
        "(float[3] x, int64[2] s) => (float[A,B] y) <float[4,5] w>"
        "{ f = Reshape(x, s)  y = MatMul(f, w) }"
    )
    found = counted(loaded).count
    assert (found.macs, found.uncounted) == (0, ("y",))


def test_bodies() -> None:
    text = """(float[2,3] x, bool c) => (float[2,3] y) <float[3,3] w, int64 ten = {10}> {
      a = If (c) <then_branch = t () => (float[2,3] p) { p = MatMul(x, w) },
                  else_branch = e () => (float[2,3] q) { r = MatMul(x, w)  q = MatMul(r, w) }>
      y = Loop (ten, , a) <body = l (int64 i, bool k, float[2,3] v) => (bool k2, float[2,3] z)
          { k2 = Identity(k)  z = MatMul(v, w) }>
    }"""
    found = counted(model(text)).count
    assert found.macs == 2 * 18 + 10 * 18
    assert [(one.node, one.macs) for one in found.nodes] == [("a", 36), ("y", 180)]
    found = counted(
        model(text.replace(", int64 ten = {10}", "").replace("bool c)", "bool c, int64 ten)"))
    ).count
    assert (found.macs, found.once) == (2 * 18 + 18, ("y",))


def test_functions_are_looked_into() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "f" : 1]>
    g (float[2,3] x, float[3,3] w) => (float[2,3] y) { y = f.twice(x, w) }
    <opset_import: ["" : 17], domain: "f">
    twice (x, w) => (y) { a = MatMul(x, w)  y = MatMul(a, w) }
    """
    assert counted(store.from_text(text)).count.macs == 36


def test_parameters_count_once_and_shapes_do_not() -> None:
    loaded = model(
        "(float[2,3] x) => (float[3,2] y) <float[3,3] w, float[3] b, int64[2] s = {3, 2}>"
        "{ a = Gemm(x, w, b)  c = MatMul(a, w)  y = Reshape(c, s) }"
    )
    found = counted(loaded).count
    assert found.parameters == 12
    assert [one.parameters for one in found.nodes] == [12, 9]


def zeros_of(text: str, **weights: np.ndarray) -> list[counting.LayerSparsity]:
    loaded = model(text)
    for name, array in weights.items():
        rewrite_constant(loaded.graph.initializers[name], array)
    return list(counting.sparsity(loaded))


def test_zeros_patterns_and_whole_channels() -> None:
    w = np.ones((4, 8, 1, 1), np.float32)
    w[:, 0::4], w[:, 1::4] = 0, -0.0
    w[2] = 0
    (found,) = zeros_of(
        "(float[1,8,2,2] x) => (float[1,4,2,2] y) <float[4,8,1,1] w> { y = Conv(x, w) }", w=w
    )
    assert (found.zeros, found.pattern) == (3 * 4 + 8, "2:4")
    assert (found.zero_outputs, found.zero_inputs) == (1, 4)
    assert found.share == 20 / 32


@pytest.mark.parametrize(("transposed", "pattern"), [(False, "1:4"), (True, "")])
def test_the_pattern_runs_along_what_is_summed(transposed: bool, pattern: str) -> None:
    w = np.zeros((8, 8), np.float32)
    w[0::4] = 1
    option = "<transB = 1>" if transposed else ""
    (found,) = zeros_of(
        f"(float[1,8] x) => (float[1,8] y) <float[8,8] w> {{ y = Gemm{option}(x, w) }}", w=w
    )
    assert found.pattern == pattern


def test_codes_have_a_zero_of_their_own() -> None:
    codes = np.array([[5, 7, 5, 6], [7, 7, 0, 5]], np.uint8)
    (found,) = zeros_of(
        "(float[1,2] x) => (float[1,4] y) <uint8[2,4] w, float[2] s = {1, 1}, uint8[2] z = {5, 7}>"
        "{ d = DequantizeLinear<axis = 0>(w, s, z)  y = MatMul(x, d) }",
        w=codes,
    )
    assert found.zeros == 4


def test_a_shared_weight_is_one_row() -> None:
    found = zeros_of(
        "(float[1,2] x) => (float[1,2] y) <float[2,2] w> { a = MatMul(x, w)  y = MatMul(a, w) }",
        w=np.zeros((2, 2), np.float32),
    )
    assert [(one.weight, one.zeros) for one in found] == [("w", 4)]


@pytest.mark.parametrize("op", ["Gelu(c)", "QuickGelu(c)", "SkipLayerNormalization(c, c, s)"])
def test_products_behind_an_op_that_onnx_does_not_know_are_counted(op: str) -> None:
    found = counted(
        model(
            "(float[n,5,3] x) => (float[n,5,2] y) <float[3,4] u, float[4] s, float[4,2] w>"
            f"{{ c = MatMul(x, u) d = com.microsoft.{op} y = MatMul(d, w) }}"
        ),
        {"n": 7},
    )
    assert not found.count.uncounted
    assert found.count.macs == 7 * 5 * (3 * 4 + 4 * 2)
    assert found.count.parameters == 3 * 4 + 4 + 4 * 2
