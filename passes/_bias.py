"""The bias of a MatMul: a constant row that an Add gives it."""

from __future__ import annotations

import onnx_ir as ir

from onnxopt.graph import constant, is_op, only_consumer


def bias_adder(node: ir.Node) -> ir.Node | None:
    """The Add that alone reads a MatMul and gives it a bias."""
    if node.op_type != "MatMul":
        return None
    reader = only_consumer(node.outputs[0])
    if reader is None or not is_op(reader, "Add"):
        return None
    row = constant(added_row(reader, node))
    return reader if row is not None and row.shape[-1:] == (row.size,) else None


def added_row(adder: ir.Node, node: ir.Node) -> ir.Value | None:
    """What the Add adds to the MatMul."""
    return adder.inputs[1 if adder.inputs[0] is node.outputs[0] else 0]
