"""Affine steps that end a longer formula, which runtimes know as one kernel while it is whole.

GELU ends in ``(x·(1 + erf(…)))·½``, a layer normalization in ``(x - mean)/√(variance + ε)·w + b``.
Where an opset has no operator for them, ONNX Runtime, OpenVINO and TensorRT all look for the
formula. Its last steps folded into the weights of the next layer save one pass over the tensor and
cost the fusion of all the others.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxopt.graph import is_constant, is_op

_GATES = ("Erf", "Tanh")
_MOST_STEPS = 2


def tail_of(node: ir.Node) -> str | None:
    """Which formula an affine node is the last part of; None where of none."""
    value = _variable(node)
    if is_op(node, "Mul", "Div") and _is_gated(value):
        return "GELU"
    for _ in range(_MOST_STEPS):
        if _is_normalized(value):
            return "layer normalization"
        producer = None if value is None else value.producer()
        if producer is None or not is_op(producer, "Mul"):
            return None
        value = _variable(producer)
    return None


def whole_reason(node: ir.Node) -> str | None:
    """Why an affine node is not folded into what follows; None where it may be."""
    formula = tail_of(node)
    return formula and f"it ends a {formula}, which runtimes fuse as a whole"


def _variable(node: ir.Node) -> ir.Value | None:
    """The one operand that is no constant."""
    varying = [value for value in node.inputs if value is not None and not is_constant(value)]
    return varying[0] if len(varying) == 1 and len(node.inputs) > 1 else None


def _is_gated(value: ir.Value | None) -> bool:
    """``x·(1 + erf(…))``, in either order."""
    node = None if value is None else value.producer()
    if node is None or not is_op(node, "Mul"):
        return False
    sums = (_producer(operand, "Add") for operand in node.inputs)
    return any(_producer(v, *_GATES) for one in sums if one is not None for v in one.inputs)


def _is_normalized(value: ir.Value | None) -> bool:
    """``(x - mean)/√…``, or that times ``1/√…``."""
    node = None if value is None else value.producer()
    if node is None or not is_op(node, "Div", "Mul"):
        return False
    left, right = node.inputs[:2]
    if is_op(node, "Div"):
        return _producer(left, "Sub") is not None and _producer(right, "Sqrt") is not None
    for a, b in ((left, right), (right, left)):
        root = _producer(b, "Reciprocal")
        if root is not None and _producer(root.inputs[0], "Sqrt") and _producer(a, "Sub"):
            return True
    return False


def _producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node of one of these ops that computes a value."""
    node = None if value is None else value.producer()
    return node if node is not None and is_op(node, *op_types) else None
