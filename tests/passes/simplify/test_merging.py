"""What golden cases cannot show of merge-duplicate-initializers and merge-duplicate-nodes."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir

from onnxopt import graph, store
from onnxopt.transform import Context, Pass
from onnxopt_passes.simplify.merge_duplicate_initializers import MergeDuplicateInitializers
from onnxopt_passes.simplify.merge_duplicate_nodes import MergeDuplicateNodes


def model_of(*tensors: ir.TensorProtocol) -> ir.Model:
    """A model that reads all these weights."""
    values = [
        ir.Value(
            name=f"w{i}",
            type=ir.TensorType(t.dtype),
            shape=ir.Shape(t.shape.numpy()),
            const_value=t,
        )
        for i, t in enumerate(tensors)
    ]
    nodes = [ir.node("Identity", [value]) for value in values]
    for i, node in enumerate(nodes):
        node.outputs[0].name = f"y{i}"
    body = ir.Graph(
        [],
        [n.outputs[0] for n in nodes],
        nodes=nodes,
        initializers=values,
        opset_imports={"": 17},
    )
    return ir.Model(body, ir_version=10)


def survivors(model: ir.Model) -> list[str]:
    list(MergeDuplicateInitializers().rewrite(model, Context()))
    return sorted(model.graph.initializers)


def test_bits_decide() -> None:
    nan = np.array([0x7FC00000, 0x7FC00001], np.uint32).view(np.float32)
    zeros = [np.array([0.0], np.float32), np.array([-0.0], np.float32)]
    arrays = [nan[:1], nan[1:], nan[:1].copy(), *zeros, zeros[1].copy()]
    assert survivors(model_of(*map(ir.tensor, arrays))) == ["w0", "w1", "w3", "w4"]


def test_a_difference_behind_the_first_bytes_counts() -> None:
    a, b = np.zeros(5000, np.float32), np.zeros(5000, np.float32)
    b[-1] = 1
    model = model_of(ir.tensor(a), ir.tensor(b), ir.tensor(a.copy()), ir.tensor(b.copy()))
    assert survivors(model) == ["w0", "w1"]


def test_packed_and_strange_types() -> None:
    four_bits = np.arange(-8, 8).astype(ml_dtypes.int4)
    brain = np.arange(3).astype(ml_dtypes.bfloat16)
    empty = np.zeros((0, 3), np.float32)
    arrays = [four_bits, four_bits.copy(), brain, brain.copy(), empty, empty.copy()]
    assert survivors(model_of(*map(ir.tensor, arrays))) == ["w0", "w2", "w4"]


def test_weights_on_disk_that_differ_in_shape_are_not_read(tmp_path: Path) -> None:
    missing = [
        ir.ExternalTensor(
            "gone.bin",
            0,
            4 * n,
            ir.DataType.FLOAT,
            shape=ir.Shape([n]),
            name="w",
            base_dir=tmp_path,
        )
        for n in (1000, 2000)
    ]
    assert survivors(model_of(*missing)) == ["w0", "w1"]


def test_many_equal_nodes_take_linear_time() -> None:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    nodes, total = [], x
    for _ in range(10_000):
        same = ir.node("Relu", [x])
        added = ir.node("Add", [total, same.outputs[0]])
        nodes += [same, added]
        total = added.outputs[0]
    for i, node in enumerate(nodes):
        node.outputs[0].name = f"v{i}"
    body = ir.Graph([x], [total], nodes=nodes, opset_imports={"": 17})
    model = ir.Model(body, ir_version=8)
    assert len(list(MergeDuplicateNodes().rewrite(model, Context()))) == 9_999
    assert len(model.graph) == 10_001


def test_a_random_function_is_called_twice() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17, "d" : 1]>
    g (float[2] x) => (float[2] y) { a = d.f(x)  b = d.f(x)  c = d.h(x)  e = d.h(x)
      s = Sub(a, b)  t = Sub(c, e)  y = Add(s, t) }
    <domain: "d", opset_import: ["" : 17, "d" : 1]> f (a) => (b) { b = d.r(a) }
    <domain: "d", opset_import: ["" : 17]> r (a) => (b) { b = RandomNormalLike(a) }
    <domain: "d", opset_import: ["" : 17]> h (a) => (b) { b = Neg(a) }"""
    model = store.from_text(text)
    (note,) = MergeDuplicateNodes().rewrite(model, Context())
    assert note.node == "e"
    assert [node.op_type for node in model.graph] == ["f", "f", "h", "Sub", "Sub", "Add"]


def test_merging_twice_changes_nothing_more() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y, float[2] z, float[2] u)
    { y = Relu(x)  z = Relu(x)  u = Relu(x) }"""
    model = store.from_text(text)
    step: Pass = MergeDuplicateNodes()
    assert len(list(step.rewrite(model, Context()))) == 2
    assert [note for note in step.rewrite(model, Context()) if note.kind == "applied"] == []
    assert [v.name for v in model.graph.outputs] == ["y", "z", "u"]
    assert [node.op_type for node in graph.all_nodes(model)] == ["Relu", "Identity", "Identity"]
