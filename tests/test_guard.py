"""Limits on models in memory, and names made safe to print."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxopt.errors import LimitError, ModelError
from onnxopt.guard import Limits, check, printable


def graph(*nodes: ir.Node, weight: int = 0) -> ir.Graph:
    values = []
    if weight:
        values.append(ir.Value(name="w", const_value=ir.Tensor(np.zeros(weight, np.uint8))))
    return ir.Graph([], [], nodes=nodes, initializers=values, opset_imports={"": 18}, name="g")


def call(name: str) -> ir.Node:
    return ir.Node("local", name, [])


def function(name: str, *nodes: ir.Node) -> ir.Function:
    return ir.Function("local", name, graph=graph(*nodes), attributes=[])


def model(*nodes: ir.Node, functions: tuple[ir.Function, ...] = (), weight: int = 0) -> ir.Model:
    return ir.Model(graph(*nodes, weight=weight), ir_version=9, functions=functions)


def nested(levels: int) -> ir.Node:
    node = call("Leaf")
    for _ in range(levels - 1):
        node = ir.Node("", "If", [], [ir.AttrGraph("then_branch", graph(node))])
    return node


def refused(tested: ir.Model, limits: Limits, *parts: str) -> None:
    with pytest.raises(LimitError) as caught:
        check(tested, limits)
    for part in parts:
        assert part in str(caught.value)


def test_defaults_let_ordinary_models_pass() -> None:
    check(model(call("A"), nested(5)))


def test_nodes_count_everywhere() -> None:
    tested = model(nested(3), call("F"), functions=(function("F", call("A"), call("B")),))
    check(tested, Limits(nodes=6))
    refused(tested, Limits(nodes=5), "6 nodes", "at most 5", "raise the limit nodes")


def test_depth() -> None:
    check(model(nested(4)), Limits(depth=4))
    refused(model(nested(5)), Limits(depth=4), "5 levels of subgraphs", "limit depth")
    refused(model(nested(5000)), Limits(), "5,000 levels")


def test_depth_through_functions() -> None:
    chain = tuple(function(f"F{i}", call(f"F{i + 1}")) for i in range(4))
    tested = model(call("F0"), functions=chain)
    check(tested, Limits(depth=5))
    refused(tested, Limits(depth=4), "5 levels of functions")
    long = tuple(function(f"F{i}", call(f"F{i + 1}")) for i in range(3000))
    refused(model(call("F0"), functions=long), Limits(), "3,001 levels of functions")


def test_expansion_is_counted_without_expanding() -> None:
    twice = tuple(function(f"F{i}", call(f"F{i + 1}"), call(f"F{i + 1}")) for i in range(60))
    refused(
        model(call("F0"), functions=twice),
        Limits(depth=100),
        "more than 10^15 nodes after expanding functions",
        "limit expanded_nodes",
    )
    small = model(call("F50"), functions=twice)
    check(small, Limits(depth=100))
    refused(small, Limits(depth=100, expanded_nodes=2046), "2,047 nodes")


def test_recursion() -> None:
    loop = (function("A", call("B")), function("B", nested(2), call("C")), function("C", call("A")))
    with pytest.raises(ModelError, match="calls itself"):
        check(model(functions=loop))
    with pytest.raises(ModelError, match="function 'A' calls itself"):
        check(model(functions=(function("A", call("A")),)))


def test_tensor_bytes_of_weights_and_constants() -> None:
    constant = ir.Node("", "Constant", [], [ir.AttrTensor("value", ir.tensor([1.0, 2.0]))])
    tested = model(constant, weight=92)
    check(tested, Limits(tensor_bytes=100))
    refused(tested, Limits(tensor_bytes=99), "100 bytes of weights", "tensor_bytes")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("conv1.weight", "conv1.weight"),
        ("größe/層 1", "größe/層 1"),
        ("<script>", "<script>"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("line\nbreak\r\x07", r"line\nbreak\r\x07"),
        ("right\u202eleft", r"right\u202eleft"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("long" * 300, "long" * 250 + "..."),
    ],
)
def test_printable(name: str, shown: str) -> None:
    assert printable(name) == shown


@given(st.text())
def test_printable_is_printable(name: str) -> None:
    assert printable(name).isprintable()
