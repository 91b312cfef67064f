"""Polynomials of sizes, contents of shape computations, and that facts notice changes."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt_passes.simplify._expression import (
    Expression,
    Number,
    add,
    atom,
    divide_exactly,
    is_positive,
    is_size,
    multiply,
    negate,
    quotient,
)
from onnxopt_passes.simplify._facts import facts_of
from onnxopt_passes.simplify._reshape_spelling import spell

N, M = atom("N"), atom("M")


def times(a: Number, b: Number) -> Number:
    result = multiply(a, b)
    assert result is not None
    return result


def value(model: ir.Model, name: str) -> ir.Value:
    graph = model.graph
    made = [v for g in (graph, *graph.subgraphs()) for node in g for v in node.outputs]
    return next(v for v in (*graph.inputs, *made) if v.name == name)


def test_equal_polynomials_are_equal_values() -> None:
    assert times(N, M) == times(M, N)
    assert add(times(N, 2), N) == times(3, N)
    minus = negate(N)
    assert minus is not None
    assert add(N, minus) == 0
    assert times(N, 0) == 0


def test_quotients_are_exact_or_opaque() -> None:
    assert quotient(times(times(N, 12), 64), times(N, 12)) == 64
    assert quotient(7, -2) == -3  # cut off toward zero
    assert divide_exactly(add(N, 1) or 0, 2) is None
    half = quotient(N, 2)
    assert half == quotient(N, 2)
    assert half != quotient(M, 2)
    assert quotient(N, 0) is None


def test_signs() -> None:
    assert is_size(times(N, 3))
    assert not is_positive(N)
    assert is_positive(add(N, 1) or 0)
    assert not is_size(add(N, -1) or 0)
    assert not is_size(quotient(add(N, -1) or 0, 2) or -1)


def test_long_results_are_given_up() -> None:
    total: Number | None = N
    for _ in range(20):
        total = None if total is None else multiply(total, N)
    assert total is None
    assert add((1 << 63) - 1, 1) is None


@pytest.mark.parametrize(
    ("result", "source", "target"),
    [
        ((N, 12, 64), (N, 768), [0, 12, 64]),
        ((times(N, 12), 64), (N, 768), [-1, 64]),
        ((N, M, 4), (N, M, 2, 2), [0, 0, 4]),
        ((N, times(M, 2)), (N, M, 2), None),  # inferred beside copied: an empty tensor fails
        ((M, N), (N, M), None),
        ((0, N), (0, N), None),
        ((3, None), None, [3, -1]),
    ],
)
def test_spelling(
    result: tuple[Number | None, ...], source: tuple[Number, ...], target: list[int] | None
) -> None:
    assert spell(result, source) == target


def test_sizes_go_through_contents_and_back() -> None:
    model = store.from_text(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[N,4,M] x) => (float[A,B] y)
        <int64 two = {2}, int64[1] four = {4}, int64[1] ax = {0}>
        { s = Shape(x)  m = Gather(s, two)  v = Unsqueeze(m, ax)  q = Mul(v, four)
          t = Concat<axis = 0>(ax, q)  y = Reshape(x, t) }"""
    )
    facts = facts_of(model)
    assert list(facts.content(value(model, "t")).tolist()) == [0, times(M, 4)]  # type: ignore[union-attr]
    assert facts.shape(value(model, "y")) == (N, times(M, 4))


def test_parallel_convs_have_equal_sizes() -> None:
    model = store.from_text(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,1,H,W] x) => (float[1,1,A,B] y) <float[1,1,3,3] w>
        { a = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, x2)
          b = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, x2)  y = Add(a, b) }""".replace(
            "<float[1,1,3,3] w>", "<float[1,1,3,3] x2 = {1, 1, 1, 1, 1, 1, 1, 1, 1}>"
        )
    )
    facts = facts_of(model)
    shape = facts.shape(value(model, "a"))
    assert shape is not None
    assert shape == facts.shape(value(model, "b")) == facts.shape(value(model, "y"))
    assert isinstance(shape[2], Expression)


def test_nameless_sizes_equal_only_themselves() -> None:
    model = store.from_text(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[unknown] x, float[unknown] v) => (float[A] y) { y = Add(x, v) }"""
    )
    facts = facts_of(model)
    assert facts.shape(model.graph.inputs[0]) != facts.shape(model.graph.inputs[1])


def test_facts_are_kept_until_something_changes() -> None:
    model = store.from_text(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[2,3] x) => (float[3,2] y) { a = Relu(x)  y = Transpose(a) }"""
    )
    facts = facts_of(model)
    assert facts.shape(value(model, "y")) == (3, 2)
    assert facts_of(model) is facts
    value(model, "y").producer().attributes["perm"] = ir.AttrInt64s("perm", [0, 1])  # type: ignore[union-attr]
    assert facts_of(model) is not facts
    assert facts_of(model).shape(value(model, "y")) == (2, 3)
    assert facts_of(model.clone()) is not facts
