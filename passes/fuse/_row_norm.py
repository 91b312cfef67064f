"""BatchNormalization between rows that a linear layer computed in more axes.

``BN(Reshape(xW + b)) = Reshape(x(W·s) + s·b + t)`` where the Reshape keeps the last axis: torch
normalizes vectors only between rows, so that networks of tokens flatten, normalize and unflatten.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxopt.graph import Editor, attribute, constant, is_op, label, only_consumer, record_origin
from onnxopt_passes.fuse._affine import Step, read_batch_norm
from onnxopt_passes.fuse._linear import Linear, Refit, rename_product

_ROWS = 2


def read_behind_reshape(linear: Linear) -> Step | str | None:
    """The normalization of a layer's rows; a reason where its numbers are not known, or None."""
    reshape = only_consumer(linear.output)
    if reshape is None or not _keeps_last_axis(reshape, linear):
        return None
    reader = only_consumer(reshape.outputs[0])
    if reader is None or not is_op(reader, "BatchNormalization"):
        return None
    return read_batch_norm(reader, linear.shape[1])


def fold_behind_reshape(editor: Editor, linear: Linear, step: Step) -> str | None:
    """Put it into the layer's weights; a reason where not."""
    refit = linear.then(step.affine)
    if isinstance(refit, str):
        return refit
    reshape = only_consumer(linear.output)
    if reshape is None:
        return None
    record_origin(linear.node, [linear.node, step.node])
    output = _written(editor, refit, reshape, step)
    reshape.replace_input_with(0, output)
    shape = reshape.outputs[0].shape
    editor.replace(step.node.outputs[0], reshape.outputs[0])
    reshape.outputs[0].shape = shape if shape is not None else reshape.outputs[0].shape
    editor.sweep(step.node)
    return None


def _written(editor: Editor, refit: Refit, reshape: ir.Node, step: Step) -> ir.Value:
    """What the layer computes now, under a name of its own: it is not the tensor it was."""
    linear, base = refit.linear, label(step.node)
    node, old = linear.node, linear.output
    if refit.bias is None or node.op_type == "Gemm" or linear.adder is not None:
        output = refit.write(editor)
        output.name = editor.fresh(f"{base}/rows")
        return output
    bias = editor.constant(reshape, f"{label(node)}/bias", refit.bias)
    origin = [node, step.node]
    output = editor.insert_before(reshape, "Add", [old, bias], f"{base}/rows", origin=origin)
    output.type, output.shape = old.type, old.shape
    Refit(linear, refit.weight, None).write(editor)
    rename_product(editor, node)
    return output


def _keeps_last_axis(node: ir.Node, linear: Linear) -> bool:
    """Whether a node makes rows of a tensor and leaves its last axis as it is."""
    if node.inputs[0] is not linear.output:
        return False
    if is_op(node, "Flatten"):
        axis = attribute(node, "axis", 1)
        return axis in (linear.rank - 1, -1)
    if not is_op(node, "Reshape") or len(node.inputs) != _ROWS:
        return False
    shape = constant(node.inputs[1])
    return shape is not None and shape.size == _ROWS and int(shape[1]) == linear.shape[1]
