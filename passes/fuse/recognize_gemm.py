"""recognize-gemm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, constant_tensor, is_op, label, nodes_with_opset, only_consumer
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._linear import GEMM_TYPES
from onnxopt_passes.fuse._shape import Layouts

_FIRST_OPSET = 7
"""Before it, Gemm broadcasts by an attribute."""


@dataclass(frozen=True)
class RecognizeGemm(Pass):
    """``A·B + b = Gemm(A, B, b)`` for matrices A and B and a constant b of one row or one number.

    The product must be read by the sum alone, and b must not make the sum larger than it.
    """

    looks_for = frozenset({"MatMul"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each MatMul that an Add alone reads."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in nodes_with_opset(model):
            if version < _FIRST_OPSET or not is_op(node, "MatMul"):
                continue
            adder = only_consumer(node.outputs[0])
            if adder is None or not is_op(adder, "Add"):
                continue
            bias = next((v for v in adder.inputs if v is not node.outputs[0]), None)
            if bias is None or any(layouts[v].rank != 2 for v in node.inputs if v is not None):
                continue
            reason = _why_not(node, bias)
            if reason is not None:
                yield Note.refused(node, reason)
                continue
            inputs = [*node.inputs, bias]
            name = f"{label(adder)}/gemm"
            new = editor.insert_before(adder, "Gemm", inputs, name, origin=[node, adder])
            editor.replace(adder.outputs[0], new)
            editor.sweep(adder)
            yield Note.applied(new, "MatMul and Add became Gemm")


def _why_not(node: ir.Node, bias: ir.Value) -> str | None:
    tensor = constant_tensor(bias)
    if tensor is None:
        return f"{bias.name} is not constant"
    if tensor.dtype not in GEMM_TYPES:
        return f"Gemm is not for {tensor.dtype}"
    if len(tensor.shape) > 2 or any(size != 1 for size in list(tensor.shape)[:-1]):
        return f"{bias.name} varies from row to row"
    if tensor.size != 1 and tensor.size != _columns(node):
        return f"{bias.name} may widen the product"
    return None


def _columns(node: ir.Node) -> int | None:
    """Size of the product's second axis, where the second matrix says it."""
    right = node.inputs[1]
    shape = None if right is None else right.shape
    tensor = constant_tensor(right)
    if tensor is not None and len(tensor.shape) == 2:
        return int(str(tensor.shape[1]))
    size = shape[1] if shape is not None and len(shape) == 2 else None
    return size if isinstance(size, int) else None
