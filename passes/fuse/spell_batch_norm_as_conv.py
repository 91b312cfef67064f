"""spell-batch-norm-as-conv."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._affine import ACTIVATIONS, Step, read_batch_norm
from onnxopt_passes.fuse._shape import Layouts, element_type

_FIRST_OPSET = 7
"""Before it, training mode is the default and is marked in another way."""
_RANK = 4


@dataclass(frozen=True)
class SpellBatchNormAsConv(Pass):
    """``BN(x) = Conv(x, s, t; group=C, 1×1)``, ``s = scale/√(var+ε)``, ``t = B - s·mean``.

    For images ``[N,C,H,W]`` whose result Convs read, directly or after an activation, as networks
    do that normalize first (DenseNet, ResNet v2): ONNX Runtime computes a BatchNormalization
    between float Convs as such a Conv itself, but has no integer kernel of it, so that every one
    would part the integers around it. What fuse-conv-bn can fold is better folded.

    Attributes:
        multiple: Leave numbers of channels alone that are no multiple of it: integer kernels
            compute depthwise Convs in blocks.
    """

    looks_for = frozenset({"BatchNormalization"})

    multiple: int = 16

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Replace each normalization that Convs read."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in nodes_with_opset(model):
            if version < _FIRST_OPSET or not is_op(node, "BatchNormalization"):
                continue
            layout = layouts[node.outputs[0]]
            if layout.rank != _RANK or not _convs_read(node):
                continue
            step = read_batch_norm(node, layout.channels)
            if isinstance(step, str):
                yield Note.refused(node, step)
            elif step is not None and element_type([node]) == ir.DataType.FLOAT:
                yield self._replace(editor, step, layout.channels)

    def _replace(self, editor: Editor, step: Step, channels: int | None) -> Note:
        node, affine = step.node, step.affine
        if channels is None or channels % self.multiple:
            return Note.refused(node, f"its channels are no multiple of {self.multiple}")
        if not affine.is_finite:
            return Note.refused(node, "its factors are not finite")
        base = label(node)
        scale = np.broadcast_to(affine.scale, channels).reshape(channels, 1, 1, 1)
        shift = np.broadcast_to(affine.shift, channels)
        weight = editor.constant(node, f"{base}/weight", scale.astype(np.float32))
        bias = editor.constant(node, f"{base}/shift", shift.astype(np.float32))
        inputs = [step.source, weight, bias]
        made = editor.insert_before(
            node,
            "Conv",
            inputs,
            f"{base}/conv",
            {"group": channels, "kernel_shape": [1, 1]},
            origin=[node],
        )
        editor.replace(node.outputs[0], made)
        editor.sweep(node)
        return Note.applied(made, "became a depthwise Conv of 1x1")


def _convs_read(node: ir.Node) -> bool:
    """Whether Convs alone read a node's output, directly or after activations."""
    readers = [use.node for use in node.outputs[0].uses()]
    behind = [
        use.node
        for reader in readers
        for use in (reader.outputs[0].uses() if is_op(reader, *ACTIVATIONS) else ())
    ]
    found = [reader for reader in readers if not is_op(reader, *ACTIVATIONS)] + behind
    return bool(found) and all(is_op(reader, "Conv") for reader in found)
