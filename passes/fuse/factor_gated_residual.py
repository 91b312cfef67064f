"""factor-gated-residual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, is_constant, is_op, label, nodes_with_opset, only_consumer
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._shape import element_type

_FIRST_OPSET = 7
"""Before it, elementwise operators broadcast by attributes."""

_LONGEST = 16
_POOLS = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
_ELEMENTWISE = (
    "Clip",
    "Elu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Neg",
    "Relu",
    "Sigmoid",
    "Softplus",
    "Tanh",
)


@dataclass(frozen=True)
class FactorGatedResidual(Pass):
    """``x + x·g = x·(1 + g)``; ``x - x·g = x·(1 - g)``; ``x·g - x = x·(g - 1)``.

    Where the gate ``g`` is one number a channel, computed from a global pooling (squeeze and
    excitation), so that the sum moves from a whole image to one position. The product must have
    no other reader.
    """

    looks_for = frozenset(_POOLS)

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each sum and difference."""
        editor = Editor(model)
        for node, version in nodes_with_opset(model):
            if version >= _FIRST_OPSET and is_op(node, "Add", "Sub") and len(node.inputs) == 2:
                left, right = node.inputs
                note = _factor(editor, node, right, left) or _factor(editor, node, left, right)
                if note is not None:
                    yield note


def _factor(
    editor: Editor, last: ir.Node, product: ir.Value | None, x: ir.Value | None
) -> Note | None:
    """``last`` adds or subtracts ``x`` and ``product``, which may be ``x`` times a gate."""
    node = None if product is None else product.producer()
    if product is None or x is None or node is None or not is_op(node, "Mul"):
        return None
    others = [value for value in node.inputs if value is not None and value is not x]
    path = gate_path(others[0]) if len(others) == 1 else []
    if not path:
        return None
    if only_consumer(product) is not last:
        return Note.refused(last, f"{product.name} is read elsewhere too")
    dtype = element_type([node, *path])
    if dtype is None:
        return Note.refused(last, "the type is unknown")
    base = label(last)
    one = editor.constant(last, f"{base}/one", np.ones((), dtype.numpy()))
    inputs = [one if value is x else others[0] for value in last.inputs]
    gate = editor.insert_before(last, last.op_type, inputs, f"{base}/gate", origin=[last])
    new = editor.insert_before(last, "Mul", [x, gate], f"{base}/gated", origin=[node, last])
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, "the residual moved into the gate")


def gate_path(value: ir.Value) -> list[ir.Node]:
    """The nodes from a value up to a global pooling that keep one position; else nothing."""
    path: list[ir.Node] = []
    for _ in range(_LONGEST):
        node = value.producer()
        source = None if node is None else _single_source(node)
        if node is None or source is None:
            return []
        path.append(node)
        if is_op(node, *_POOLS):
            return path
        value = source
    return []


def _single_source(node: ir.Node) -> ir.Value | None:
    """The input that a node maps position by position; None where it may add positions."""
    if is_op(node, *_POOLS, *_ELEMENTWISE):
        return node.inputs[0]
    if is_op(node, "Conv"):
        return node.inputs[0] if _is_pointwise(node) else None
    if is_op(node, "Add", "Div", "Mul", "Sub"):
        sources = [value for value in node.inputs if value is not None and not is_constant(value)]
        small = all(_has_one_position(value) for value in node.inputs if is_constant(value))
        return sources[0] if len(sources) == 1 and small else None
    return None


def _is_pointwise(node: ir.Node) -> bool:
    weight, pads = node.inputs[1], node.attributes.get("pads")
    shape = None if weight is None else _constant_shape(weight)
    padded = pads is not None and (pads.is_ref() or any(pads.as_ints()))
    return shape is not None and all(size == 1 for size in shape[2:]) and not padded


def _has_one_position(value: ir.Value | None) -> bool:
    shape = None if value is None else _constant_shape(value)
    return shape is not None and all(size == 1 for size in shape[-2:])


def _constant_shape(value: ir.Value) -> list[int] | None:
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else [int(str(size)) for size in tensor.shape]
