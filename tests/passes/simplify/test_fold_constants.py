"""What golden cases cannot show of fold-constants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxopt import graph, runtime, store
from onnxopt.transform import Context, Note
from onnxopt_passes.simplify.fold_constants import FoldConstants

HEADER = '<ir_version: 8, opset_import: ["" : 17]> g '


def fold(model: ir.Model, **options: int) -> list[Note]:
    return list(FoldConstants(**options).rewrite(model, Context()))


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in graph.all_nodes(model)]


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The models that were run."""
    opened: list[Any] = []
    original = runtime.open_session

    def counting(model: Any, *rest: Any) -> Any:
        opened.append(model)
        return original(model, *rest)

    monkeypatch.setattr(runtime, "open_session", counting)
    yield opened


def test_all_graphs_and_functions_share_one_session(sessions: list[Any]) -> None:
    text = """<ir_version: 9, opset_import: ["" : 17, "d" : 1]>
    g (bool c, float[2] x) => (float[2] y) <float[2] w = {1, 2}, float[2] v = {3, 4}>
    { a = Neg(w)  b = Add(a, v)  d = Mul(x, b)  e = d.f(d)
      y = If(c) <then_branch = t () => (float[2] p) { n = Abs(a)  p = Mul(e, n) },
                 else_branch = e () => (float[2] q) { m = Exp(v)  q = Mul(e, m) }> }
    <domain: "d", opset_import: ["" : 17]> f (a) => (b)
    { c = Constant<value = float {2}>()  d = Neg(c)  b = Mul(a, d) }"""
    model = store.from_text(text)
    notes = fold(model)
    assert len(sessions) == 1
    assert [note.node for note in notes] == ["b", "n", "m", "d"]
    assert ops(model) == ["Mul", "f", "If", "Mul", "Mul", "Constant", "Mul"]


def test_nodes_that_fail_do_not_keep_others(sessions: list[Any]) -> None:
    good = "".join(f" a{i} = Neg(w) b{i} = Mul(x{i}, a{i})" for i in range(20))
    declared = ", ".join(f"float[2] x{i}" for i in range(20))
    text = f"""{HEADER} (bool c, {declared}) => (float[2] b7, float[k] y)
    <float[2] w = {{1, 2}}, int64[1] s = {{3}}>
    {{ {good} y = If(c) <then_branch = t () => (float[2] p) {{ p = Neg(x0) }},
      else_branch = e () => (float[k] q) {{ r = Reshape(w, s) u = Abs(r) v = Add(u, w)
      o = Neg(w) z = Add(o, v) q = Abs(z) }}> }}"""
    model = store.from_text(text)
    notes = fold(model)
    assert [note.node for note in notes if note.kind == "applied"] == [
        *(f"a{i}" for i in range(20)),
        "o",
    ]
    assert "Reshape" in ops(model)
    assert len(sessions) < 20
    refusals = [note for note in notes if note.kind == "refused"]
    assert len(refusals) == 1 and refusals[0].node == "r"


def test_equal_bits_of_every_kind_of_number() -> None:
    bits = np.array([-0.0, np.nan, np.inf, 1e-45, 3.4e38], np.float32)
    nodes = [
        helper.make_node("Reshape", ["w", "s"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"]),
    ]
    weights = [
        onnx.numpy_helper.from_array(bits, "w"),
        onnx.numpy_helper.from_array(np.array([5, 1]), "s"),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])
    graph_proto = helper.make_graph(nodes, "g", [], [output], weights)
    proto = helper.make_model(
        graph_proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    model = store.load(proto)
    assert fold(model)
    assert ops(model) == ["Constant"]
    value = graph.constant(model.graph.outputs[0])
    assert value is not None and value.tobytes() == bits.tobytes()


def test_text_is_folded() -> None:
    text = (
        HEADER
        + """(int64 i) => (string y) <string[2] a = {"p", "q"}, string[1] b = {"ä"}>
    { c = Concat<axis = 0>(a, b)  y = Gather(c, i) }"""
    )
    model = store.from_text(text)
    assert [note.node for note in fold(model)] == ["c"]
    data = model.graph.initializers["c"].const_value
    assert data is not None and list(data.numpy()) == [b"p", b"q", "ä".encode()]


def test_narrow_weights_may_move_but_are_not_computed_with() -> None:
    w = ir.Value(name="w", const_value=ir.tensor(np.ones((2, 3), ml_dtypes.bfloat16), name="w"))
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.BFLOAT16), shape=ir.Shape([3, 2]))
    moved = ir.node("Transpose", [w])
    half = ir.node("Neg", moved.outputs)
    final = ir.node("Add", [x, half.outputs[0]])
    for node, name in ((moved, "m"), (half, "h"), (final, "y")):
        node.outputs[0].name = name
    body = ir.Graph(
        [x],
        final.outputs,
        nodes=[moved, half, final],
        initializers=[w],
        opset_imports={"": 17},
    )
    model = ir.Model(body, ir_version=8)
    notes = fold(model)
    assert ops(model) == ["Neg", "Add"]
    assert {note.kind for note in notes} == {"applied", "refused"}


def test_a_computation_that_would_take_too_much_memory_is_not_tried(sessions: list[Any]) -> None:
    text = (
        HEADER
        + """(float x) => (float y) <int64[2] s = {1000000, 1000000}>
    { z = ConstantOfShape(s)  r = ReduceMax<keepdims = 0>(z)  y = Mul(x, r) }"""
    )
    (note,) = fold(store.from_text(text))
    assert note.kind == "refused" and "bytes to compute" in note.reason
    assert sessions == []


def test_sizes_by_value_wait_until_the_values_are_known(sessions: list[Any]) -> None:
    text = (
        HEADER
        + """(float[3] x) => (float[k] y) <float[3] w = {0, 1, 1}, int64 i = {1}, int64[1] u = {0}>
    { n = NonZero(w)  s = Shape(n)  k = Gather(s, i)  r = Unsqueeze(k, u)
      z = ConstantOfShape(r)  y = Concat<axis = 0>(x, z) }"""
    )
    model = store.from_text(text)
    fold(model)
    assert ops(model) == ["Concat"]
    assert len(sessions) <= 3


@pytest.mark.parametrize("sizes", [[-1, 3], ["N", 3], [None, 3]])
def test_unknown_sizes_are_not_folded(sizes: list[int | str | None]) -> None:
    text = HEADER + "(float[N,3] x) => (int64[2] y, int64 z) { y = Shape(x)  z = Size(x) }"
    model = store.from_text(text)
    model.graph.inputs[0].shape = ir.Shape(sizes)
    assert fold(model) == []


def test_what_a_loop_body_claims_of_its_state_is_not_believed() -> None:
    text = (
        HEADER
        + """(int64 n, bool c, float[2] x) => (float[k] y, int64[a,1] z)
    { y, z = Loop(n, c, x) <body = b (int64 i, bool go, float[2] s)
        => (bool more, float[k] next, int64[1] size)
      { more = Identity(go)  next = Concat<axis = 0>(s, x)  size = Shape(s) }> }"""
    )
    assert fold(store.from_text(text)) == []


def test_data_on_disk_is_not_read_for_nothing(tmp_path: Path) -> None:
    missing = ir.ExternalTensor(
        "gone.bin", 0, 4 << 20, ir.DataType.FLOAT, shape=ir.Shape([1024, 1024]), name="w",
        base_dir=tmp_path,
    )  # fmt: skip
    text = HEADER + "(float[N,1024] x) => (float[N,1024] y) <float[1] w = {0}> { y = MatMul(x, w) }"
    model = store.from_text(text)
    weight = model.graph.initializers["w"]
    weight.const_value, weight.shape = missing, ir.Shape([1024, 1024])
    assert fold(model) == []


def test_an_opset_the_runtime_does_not_load_is_refused_not_raised() -> None:
    text = """<ir_version: 13, opset_import: ["" : 28]> g (float[2] x) => (float[2] y)
    <float[2] w = {1, 2}> { n = Neg(w)  y = Mul(x, n) }"""
    (note,) = fold(store.from_text(text))
    assert note.kind == "refused"


def test_a_long_chain_takes_linear_time() -> None:
    count = 10_000
    nodes = [helper.make_node("Add", [f"t{i}", "w"], [f"t{i + 1}"]) for i in range(count)]
    weights = [helper.make_tensor(name, TensorProto.FLOAT, [1], [1.0]) for name in ("w", "t0")]
    nodes.append(helper.make_node("Mul", ["x", f"t{count}"], ["y"]))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    proto = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    model = store.load(proto)
    (note,) = fold(model)
    assert note.node == f"t{count}"
    assert graph.constant(model.graph[0].inputs[1]) == [count + 1.0]
