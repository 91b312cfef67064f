"""What golden cases cannot show of freezing and of the eliminate passes."""

from __future__ import annotations

import onnx_ir as ir

from onnxopt import graph, store
from onnxopt.signature import signature_of
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.simplify.eliminate_dead_nodes import EliminateDeadNodes
from onnxopt_passes.simplify.eliminate_identities import EliminateIdentities
from onnxopt_passes.simplify.freeze_default_inputs import FreezeDefaultInputs


def run(step: Pass, model: ir.Model) -> list[Note]:
    return list(step.rewrite(model, Context()))


def chain(op_type: str, count: int, *, dead: bool) -> ir.Model:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    value, nodes = x, []
    for index in range(count):
        node = ir.node(op_type, [value])
        value = node.outputs[0]
        value.name = f"t{index}"
        nodes.append(node)
    last = ir.node("Neg", [x if dead else value])
    last.outputs[0].name = "y"
    body = ir.Graph([x], last.outputs, nodes=[*nodes, last], opset_imports={"": 17})
    return ir.Model(body, ir_version=8)


def test_long_chains_take_linear_time() -> None:
    model = chain("Relu", 20_000, dead=True)
    assert len(run(EliminateDeadNodes(), model)) == 20_000
    assert len(model.graph) == 1
    model = chain("Identity", 20_000, dead=False)
    assert len(run(EliminateIdentities(), model)) == 20_000
    assert [node.op_type for node in model.graph] == ["Neg"]


def test_order_of_nodes_does_not_matter() -> None:
    model = chain("Relu", 3, dead=True)
    nodes = list(model.graph)
    model.graph.remove(nodes)
    model.graph.extend(reversed(nodes))
    run(EliminateDeadNodes(), model)
    assert len(model.graph) == 1


def test_one_value_may_be_two_outputs() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y, float[2] z)
    { a = Relu(x)  y = Identity(a)  z = Neg(a) }"""
    model = store.from_text(text)
    model.graph.outputs[1] = model.graph.outputs[0]
    run(EliminateIdentities(), model)
    run(EliminateDeadNodes(), model)
    assert [v.name for v in model.graph.outputs] == ["y", "y"]
    assert [node.op_type for node in model.graph] == ["Relu"]


def test_an_output_keeps_its_declared_type_when_its_identity_goes() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x) => (float[rows,3] y)
    <float[2,3] a> { a = Relu(x)  y = Identity(a) }"""
    model = store.from_text(text)
    before = signature_of(model)
    run(EliminateIdentities(), model)
    assert signature_of(model) == before


def test_sequences_pass_through_identities() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (seq(float[2]) y)
    { s = SequenceConstruct(x, x)  t = Identity(s)  y = SequenceInsert(t, x) }"""
    model = store.from_text(text)
    run(EliminateIdentities(), model)
    assert [node.op_type for node in model.graph] == ["SequenceConstruct", "SequenceInsert"]


def test_an_empty_graph_is_left_alone() -> None:
    body = ir.Graph([], [], nodes=[], opset_imports={"": 17})
    model = ir.Model(body, ir_version=8)
    for step in (EliminateDeadNodes(), EliminateIdentities(), FreezeDefaultInputs()):
        assert run(step, model) == []


def test_inputs_of_a_subgraph_are_not_frozen() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (int64 n, bool c, float[2] x) => (float[2] y)
    { y = Loop(n, c, x) <body = b (int64 i, bool go, float[2] s) => (bool more, float[2] next)
      { more = Identity(go)  next = Neg(s) }> }"""
    model = store.from_text(text)
    assert run(FreezeDefaultInputs(), model) == []
    loop = next(node for node in graph.all_nodes(model) if node.op_type == "Loop")
    assert len(loop.attributes["body"].as_graph().inputs) == 3
