"""Puts a constant where a node's output was."""

from __future__ import annotations

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt_passes.simplify._arrays import Array, as_tensor

_IR_OF_FREE_WEIGHTS = 4


class Materializer:
    """Turns outputs of nodes into constants of the same name, in one model."""

    def __init__(self, model: ir.Model) -> None:
        self._editor = Editor(model)
        self._bodies = {function.graph for function in model.functions.values()}
        self._weights_are_inputs = model.ir_version < _IR_OF_FREE_WEIGHTS

    def put(self, value: ir.Value, array: Array) -> None:
        """Let all readers of a node's output read a constant, and drop the node if it can go."""
        self.put_tensor(value, as_tensor(array, value.name))

    def put_tensor(self, value: ir.Value, tensor: ir.TensorProtocol) -> None:
        """As ``put``; the constant becomes an initializer where that is possible."""
        node, name = value.producer(), value.name or ""
        if node is None or node.graph is None:
            raise ValueError(f"{name} is not the output of a node in a graph")
        value.name = self._editor.fresh(f"{name}/computed")
        if self.keeps_nodes(value):
            new = _constant_node(node, value, name, tensor)
        else:
            shape, kind = ir.Shape(tensor.shape.numpy()), ir.TensorType(tensor.dtype)
            new = ir.Value(name=name, shape=shape, type=kind, const_value=tensor)
            node.graph.register_initializer(new)
        new.metadata_props.update(value.metadata_props)
        value.replace_all_uses_with(new, replace_graph_outputs=True)
        self._editor.sweep(node)

    def keeps_nodes(self, value: ir.Value) -> bool:
        """Whether a constant in place of a node's output has to be a Constant node.

        So it is in a function (which has no initializers), for a graph output, and below IR
        version 4 (where an initializer has to be an input).
        """
        node = value.producer()
        in_function = node is not None and node.graph in self._bodies
        return in_function or self._weights_are_inputs or value.is_graph_output()


def _constant_node(
    node: ir.Node, value: ir.Value, name: str, tensor: ir.TensorProtocol
) -> ir.Value:
    attrs = {"value": ir.AttrTensor("value", tensor)}
    constant = ir.Node("", "Constant", [], attrs, num_outputs=1, name=node.name)
    edit.record_origin(constant, [node])
    if node.graph is not None:
        node.graph.insert_before(node, constant)
    new = constant.outputs[0]
    declared = value.shape if value.is_graph_output() else None
    new.name, new.type = name, ir.TensorType(tensor.dtype)
    new.shape = declared if declared is not None else ir.Shape(tensor.shape.numpy())
    return new
