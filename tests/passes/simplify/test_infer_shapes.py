"""What golden cases cannot show of infer-shapes: same_graph does not look at inner types."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import graph, store
from onnxopt.transform import Context, Note
from onnxopt_passes.simplify import _inference
from onnxopt_passes.simplify._outline import Outline
from onnxopt_passes.simplify.infer_shapes import InferShapes


def infer(model: ir.Model) -> list[Note]:
    return list(InferShapes().rewrite(model, Context()))


def shapes(model: ir.Model) -> dict[str, str]:
    nodes = graph.all_nodes(model)
    return {v.name or "": str(v.shape) for node in nodes for v in node.outputs}


def test_sizes_flow_through_small_weights_and_branches() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,2,3] x, bool c) => (y)
    <int64[2] s = {-1, 6}> { a = Relu(x)  b = Reshape(a, s)
      y = If(c) <then_branch = t () => (p) { r = Neg(b)  p = Abs(r) },
                 else_branch = e () => (p) { r = Transpose(b)  p = Neg(r) }> }"""
    model = store.from_text(text)
    (note,) = infer(model)
    assert note.reason == "type or shape of 7 values written down"
    found = shapes(model)
    assert (found["a"], found["b"]) == ("[N,2,3]", "[N,6]")
    then, other = (g for g in graph.all_graphs(model) if g is not model.graph)
    assert str(then[0].outputs[0].shape) == "[N,6]"
    assert str(other[0].outputs[0].shape) == "[6,N]"
    assert infer(model) == []


def test_sizes_lead_back_to_the_inputs() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,S,4] x) => (y)
    <int64 zero = {0}, int64 one = {1}, int64[3] sizes = {1, 9, 4},
     int64[1] first = {0}, int64[1] axis = {1}>
    { table = ConstantOfShape(sizes)  s = Shape(x)  n = Gather(s, one)
      r = Range(zero, n, one)  c = Cast<to = 1>(r)  m = Sin(c)
      end = Unsqueeze(n, first)  t = Slice(table, first, end, axis)
      z = Add(x, t)  i = Cast<to = 7>(c)  k = Tile(i, end)  y = Relu(z) }"""
    model = store.from_text(text)
    infer(model)
    found = shapes(model)
    assert (found["r"], found["m"], found["k"]) == ("[S]", "[S]", "[None]")
    assert (found["t"], found["z"]) == ("[1,None,4]", "[N,S,4]")
    assert infer(model) == []


def test_declared_names_stay_and_outputs_are_not_touched() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x) => (float[M,K] y)
    <float[rows,columns] a> { a = Relu(x)  y = Neg(a) }"""
    model = store.from_text(text)
    infer(model)
    assert shapes(model) == {"a": "[rows,3]", "y": "[M,K]"}


def test_a_size_of_minus_one_is_unknown() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x) => (y)
    <float[N,3] a> { a = Relu(x)  y = Flatten<axis = 0>(a) }"""
    model = store.from_text(text)
    model.graph.inputs[0].shape = ir.Shape([-1, 3])
    model.graph[0].outputs[0].shape = ir.Shape([-1, 3])
    infer(model)
    assert shapes(model) == {"a": "[None,3]", "y": "[1,None]"}
    assert str(model.graph.inputs[0].shape) == "[-1,3]"


def test_large_weights_are_not_copied_and_come_back() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,4] x) => (y) <float[1] w = {0}>
    { c = Constant<value = float[1] {0}>()  a = MatMul(x, w)  y = MatMul(a, c) }"""
    model = store.from_text(text)
    big = ir.tensor(np.zeros((4, 4096), np.float32))
    huge = ir.tensor(np.zeros((4096, 1024), np.float32))
    weight = model.graph.initializers["w"]
    weight.const_value, weight.shape = big, ir.Shape([4, 4096])
    constant = model.graph[0]
    attribute = constant.attributes["value"] = ir.AttrTensor("value", huge)
    constant.outputs[0].shape = None
    assert len(Outline(model, declared=True).proto.SerializeToString()) < 2000
    infer(model)
    assert weight.const_value is big
    assert constant.attributes["value"] is attribute
    assert str(model.graph.outputs[0].shape) == "[N,1024]"


def test_a_failure_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(_inference.onnx.shape_inference, "infer_shapes", fail)
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (y) { y = Relu(x) }'
    (note,) = infer(store.from_text(text))
    assert (note.kind, note.reason) == ("refused", "shapes cannot be inferred: two lines")
