"""merge-linear-layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset, only_consumer, record_origin
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._linear import Linear, read_linear
from onnxopt_passes.fuse._shape import Layouts


@dataclass(frozen=True)
class MergeLinearLayers(Pass):
    """``(xA + a)B + b = x(AB) + (aB + b)``.

    For MatMul and Gemm by constant weights of which the second alone reads the first, where the
    product is no larger than the two factors: a bottleneck of low rank is left as it is. A first
    bias needs a second one to go into.
    """

    looks_for = frozenset({"Gemm", "MatMul"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge each layer into the one that alone reads it."""
        editor, layouts = Editor(model), Layouts(model)
        for node, _ in nodes_with_opset(model):
            if not is_op(node, "MatMul", "Gemm") or node.graph is None:
                continue
            first = read_linear(node, layouts)
            reader = only_consumer(first.output) if isinstance(first, Linear) else None
            second = read_linear(reader, layouts)
            if not isinstance(first, Linear) or not isinstance(second, Linear):
                continue
            if second.node.inputs[0] is first.output:
                yield _merge(editor, first, second)


def _merge(editor: Editor, first: Linear, second: Linear) -> Note:
    (rows, inner), (_, columns) = first.shape, second.shape
    if rows * columns > inner * (rows + columns):
        reason = f"a product of {rows}×{columns} weights is larger than its factors"
        return Note.refused(second.node, reason)
    if first.weight.dtype != second.weight.dtype:
        return Note.refused(second.node, "the two layers differ in type")
    left, right = first.matrix(), second.matrix()
    before, after = first.bias(), second.bias()
    if isinstance(before, str) or isinstance(after, str):
        return Note.refused(second.node, before if isinstance(before, str) else str(after))
    has_bias = second.adder is not None or second.node.op_type == "Gemm"
    if before.any() and not has_bias:
        return Note.refused(second.node, f"the bias of {label(first.node)} needs one to go into")
    refit = second.rounded(left @ right, before @ right + after)
    if isinstance(refit, str):
        return Note.refused(second.node, refit)
    source = first.node.inputs[0]
    record_origin(second.node, [first.node, second.node])
    name = label(first.node)
    second.node.replace_input_with(0, source)
    editor.sweep(first.adder or first.node)
    refit.write(editor)
    return Note.applied(second.node, f"took over {name}")
