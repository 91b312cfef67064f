"""Open sizes that weights decide."""

from __future__ import annotations

import numpy as np
import pytest
from kernels import with_weights

from onnxopt.comparing.workable import workable_inputs
from onnxopt.data import feedable_signature

Shape = tuple[int, ...]

AXES = "<int64[2] at = {1, -1}>"
REVERSED = "<int64[1] s = {-1}, int64[1] e = {-99}, int64[1] at = {0}>"
CUT = "<int64[1] s = {1}, int64[1] e = {9}, int64[1] at = {1}>"


@pytest.mark.parametrize(
    ("declared", "body", "weight", "expected"),
    [
        ("N,K", "{ y = MatMul(x, w) }", (5, 3), ("N", 5)),
        ("K,N", "{ y = MatMul(w, x) }", (3, 5), (5, "N")),
        ("N,K", "{ y = Gemm(x, w) }", (5, 3), ("N", 5)),
        ("K,N", "{ y = Gemm<transA = 1>(x, w) }", (5, 3), (5, "N")),
        ("N,K", "{ y = Gemm<transB = 1>(x, w) }", (3, 5), ("N", 5)),
        ("K,N", "{ y = Gemm(w, x) }", (3, 5), (5, "N")),
        ("K,N", "{ y = Gemm<transA = 1>(w, x) }", (5, 3), (5, "N")),
        ("N,K", "{ y = Gemm<transB = 1>(w, x) }", (3, 5), ("N", 5)),
        ("N,C,H,W", "{ y = Conv<group = 2>(x, w) }", (8, 3, 2, 2), ("N", 6, "H", "W")),
        ("N,C,H,W", "{ y = ConvTranspose(x, w) }", (3, 8, 2, 2), ("N", 3, "H", "W")),
        ("T,B,F", "{ y = RNN(x, w, w) }", (1, 4, 7), ("T", "B", 7)),
        ("N,F", "{ y = LayerNormalization(x, w) }", (6,), ("N", 6)),
        ("T,F", "{ y = Mul(x, w) }", (6,), ("T", 6)),
        ("T,F", "{ y = Mul(x, w) }", (1,), ("T", "F")),
        ("T,F", "{ y = Mul(x, w) }", (2, 3, 4), ("T", "F")),
        (
            "T,F",
            AXES + "{ a = Unsqueeze(x, at) b = Relu(a) c = Transpose<perm = [3, 1, 0, 2]>(b) "
            "d = Transpose<perm = [2, 1, 3, 0]>(c) e = Squeeze(d, at) y = MatMul(e, w) }",
            (6, 1),
            ("T", 6),
        ),
        ("T,F", REVERSED + "{ a = Slice(x, s, e, at, s) y = MatMul(a, w) }", (6, 1), ("T", 6)),
        ("T,F", CUT + "{ a = Slice(x, s, e, at) y = MatMul(a, w) }", (6, 1), ("T", "F")),
        ("T,F", "{ a = MatMul(x, x) y = MatMul(a, w) }", (6, 1), ("T", "F")),
        ("T,F", "{ a = Relu(x) b = Add(a, x) y = MatMul(b, w) }", (6, 1), ("T", 6)),
        ("V,F", AXES + "{ a = Gather(x, at) y = MatMul(a, w) }", (6, 1), ("V", 6)),
        ("T,F", AXES + "{ a = Gather<axis = 1>(x, at) y = Add(a, w) }", (6, 2), (6, "F")),
    ],
)
def test_a_weight_gives_the_size_of_the_axis_that_reaches_it(
    declared: str, body: str, weight: Shape, expected: tuple[int | str, ...]
) -> None:
    model = with_weights(f"(float[{declared}] x) => (float[] y) {body}", w=weight)
    assert [spec.shape for spec in feedable_signature(model).inputs] == [expected]


def test_what_is_looked_up_gives_the_size_of_what_it_meets() -> None:
    text = """(float[N,T,F] x, int64[N,T] ids, float[G] u, float[9] v) => (float[] y, float[] z)
    { rows = Gather(w, ids) s = Add(x, rows) y = Relu(s) z = Mul(u, v) }"""
    model = with_weights(text, w=(30, 8))
    shapes = [spec.shape for spec in feedable_signature(model).inputs]
    assert shapes == [("N", "T", 8), ("N", "T"), (9,), (9,)]


def test_one_name_is_one_size_and_unnamed_sizes_stand_alone() -> None:
    text = """(float[N,F] x, float[F] z, float[?,?] u) => (float[] y, float[] v, float[] t)
    { y = MatMul(x, w) v = Relu(z) t = Add(u, s) }"""
    model = with_weights(text, w=(6, 1), s=(1, 4))

    def shapes(*asked: str) -> list[object]:
        return [spec.shape for spec in feedable_signature(model, asked).inputs]

    assert shapes() == [("N", 6), (6,), (None, 4)]
    assert shapes("F", "u:1") == [("N", "F"), ("F",), (None, None)]
    assert shapes("x:1") == [("N", "F"), ("F",), (None, 4)]


def test_inputs_are_made_up_in_those_sizes() -> None:
    model = with_weights("(float[T,F] x) => (float[T,1] y) { y = MatMul(x, w) }", w=(41, 1))
    shapes = {np.shape(sample.feeds["x"]) for sample in workable_inputs(model)}
    assert {shape[1] for shape in shapes} == {41}
    assert len(shapes) == 2


def test_a_first_axis_may_be_time_and_long_enough_for_windows() -> None:
    text = f"(float[T,F] x) => (float[] y) {WINDOWED}"
    shapes = {np.shape(s.feeds["x"]) for s in workable_inputs(with_weights(text, w=(1, 1, 9, 3)))}
    assert min(shape[0] for shape in shapes) >= 9


WINDOWED = "<int64[2] at = {0, 1}> { a = Unsqueeze(x, at) y = Conv(a, w) }"
