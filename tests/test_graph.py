"""The edit verbs keep names, graph outputs and provenance right."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxopt import graph, store
from onnxopt.graph import Editor

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2] x, float[2] free) => (float[2] y, float[2] z)
<float[2] w = {1, 2}, float[2] free = {0, 0}>
{ a = Relu(x)  y = Add(a, w)  b = Mul(x, free)  z = Identity(b) }"""


def node(model: ir.Model, op_type: str) -> ir.Node:
    return next(n for n in model.graph if n.op_type == op_type)


def test_an_initializer_the_caller_may_override_is_no_constant() -> None:
    model = store.from_text(MODEL)
    add, mul = node(model, "Add"), node(model, "Mul")
    np.testing.assert_array_equal(graph.constant(add.inputs[1]), [1, 2])
    assert graph.constant(mul.inputs[1]) is None
    assert not graph.is_constant(mul.inputs[1])
    assert graph.constant(None) is None
    assert graph.constant(mul.inputs[0]) is None


def test_scalars_are_one_number() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y) <float[1,1] s = {3}, bool[1] t = {1}>
    { c = Constant <value = float {0.5}> ()  y = Mul(x, c) }"""
    model = store.from_text(text)
    assert graph.scalar(model.graph.initializers["s"]) == 3.0
    assert graph.scalar(model.graph.initializers["t"]) is None
    assert graph.scalar(node(model, "Mul").inputs[1]) == 0.5
    assert graph.scalar(node(model, "Mul").inputs[0]) is None


def test_replace_takes_the_name_of_a_graph_output() -> None:
    model = store.from_text(MODEL)
    editor, add = Editor(model), node(model, "Add")
    new = editor.insert_before(add, "Sub", add.inputs, "y/sub", origin=[add])
    old = add.outputs[0]
    editor.replace(old, new)
    editor.sweep(add)
    assert model.graph.outputs[0] is new
    assert new.name == "y"
    assert new.dtype == ir.DataType.FLOAT
    producer = new.producer()
    assert producer is not None
    assert producer.metadata_props[graph.PROVENANCE_KEY] == "y"
    assert "Add" not in [n.op_type for n in model.graph]


def test_provenance_adds_up() -> None:
    model = store.from_text(MODEL)
    relu, add = node(model, "Relu"), node(model, "Add")
    relu.name, add.name = "r", "a"
    graph.record_origin(relu, [add, relu])
    graph.record_origin(add, [relu, add])
    assert add.metadata_props[graph.PROVENANCE_KEY] == "a,r"


def test_bypass_renames_the_source_of_a_graph_output_or_refuses() -> None:
    model = store.from_text(MODEL)
    identity = node(model, "Identity")
    source = identity.inputs[0]
    assert source is not None
    assert Editor(model).bypass(identity.outputs[0], source)
    assert [value.name for value in model.graph.outputs] == ["y", "z"]
    assert source.name == "z"
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y) { y = Identity(x) }"""
    passthrough = store.from_text(text)
    only = passthrough.graph[0]
    assert not Editor(passthrough).bypass(only.outputs[0], passthrough.graph.inputs[0])


def test_sweep_follows_what_only_fed_the_node() -> None:
    model = store.from_text(MODEL)
    add = node(model, "Add")
    relu_out = add.inputs[0]
    assert relu_out is not None
    add.replace_input_with(0, model.graph.inputs[0])
    producer = relu_out.producer()
    assert producer is not None
    Editor(model).sweep(producer)
    assert "Relu" not in [n.op_type for n in model.graph]
    add.replace_input_with(1, model.graph.inputs[0])
    assert graph.drop_if_unread(model.graph.initializers["w"])
    assert not graph.drop_if_unread(model.graph.initializers["free"])


def test_fresh_names_do_not_collide_and_do_not_depend_on_order() -> None:
    model = store.from_text(MODEL)
    editor = Editor(model)
    assert editor.fresh("y/bias") == "y/bias"
    assert editor.fresh("y/bias") == "y/bias/2"
    assert editor.fresh("w") == "w/2"


def test_constants_in_functions_are_nodes() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17, "d" : 1]>
    g (float[2] x) => (float[2] y) { y = d.twice(x) }
    <domain: "d", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }"""
    model = store.from_text(text)
    (function,) = model.functions.values()
    add = function[0]
    value = Editor(model).constant(add, "b/two", np.float32([2]))
    producer = value.producer()
    assert producer is not None and producer.op_type == "Constant"
    assert not function.graph.initializers
    assert [n.op_type for n in graph.all_nodes(model)] == ["twice", "Constant", "Add"]


def test_stats_count_subgraphs_and_functions() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (bool c, float[2] x) => (float[2] y) <float[2] w = {1, 2}>
    { y = If(c) <then_branch = t () => (float[2] p) { p = Relu(x) },
                 else_branch = e () => (float[2] q) { q = Add(x, w) }> }"""
    found = graph.stats(store.from_text(text))
    assert found.nodes == 3
    assert found.ops == {"Add": 1, "If": 1, "Relu": 1}
    assert (found.initializers, found.weight_bytes) == (1, 8)


def test_only_consumer() -> None:
    model = store.from_text(MODEL)
    relu, mul = node(model, "Relu"), node(model, "Mul")
    assert graph.only_consumer(relu.outputs[0]) is node(model, "Add")
    assert graph.only_consumer(mul.outputs[0]) is node(model, "Identity")
    assert graph.only_consumer(node(model, "Add").outputs[0]) is None
    assert graph.only_consumer(model.graph.inputs[0]) is None
