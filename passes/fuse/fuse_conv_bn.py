"""fuse-conv-bn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._affine import read_batch_norm
from onnxopt_passes.fuse._convolution import Convolution, read_convolution
from onnxopt_passes.fuse._fold import fold_after, fold_before, reading_convolutions, sole_reader

_FIRST_OPSET = 7
"""Before it, training mode is the default and is marked in another way."""


@dataclass(frozen=True)
class FuseConvBn(Pass):
    """``BN(Conv(x, W, b)) = Conv(x, s·W, s·b + t)``, ``s = scale/√(var+ε)``, ``t = B - s·mean``.

    Holds for Conv and ConvTranspose of any rank and grouping with constant weights, where the
    normalization is in inference mode, has constant parameters and is the only reader of the
    convolution. A normalization *before* convolutions that are its only readers goes into them
    likewise, ``Conv(BN(x), W, b) = Conv(x, W·s, b + ΣW·t)``, unless ``t`` would have to pass zero
    padding. Weights that others read too are copied.
    """

    looks_for = frozenset({"BatchNormalization"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Fold every normalization that touches a convolution."""
        editor = Editor(model)
        for node, version in nodes_with_opset(model):
            if is_op(node, "BatchNormalization") and node.inputs[0] is not None:
                note = _fold(editor, node, version)
                if note is not None:
                    yield note


def _fold(editor: Editor, node: ir.Node, version: int) -> Note | None:
    source = node.inputs[0]
    above = read_convolution(source.producer()) if source is not None else None
    below = reading_convolutions(node.outputs[0])
    if above is None and below is None:
        return None
    if version < _FIRST_OPSET:
        return Note.refused(node, f"opset {version} is too old; raise-opset first")
    name = label(node)
    reason = _into_source(editor, node, above)
    if reason is None:
        return Note.applied(name, "folded into the weights of the convolution before it")
    if below is not None:
        reason = _into_readers(editor, node, below)
    if reason is None:
        return Note.applied(name, "folded into the weights of the convolutions after it")
    return Note.refused(node, reason)


def _into_source(editor: Editor, node: ir.Node, conv: Convolution | str | None) -> str | None:
    if not isinstance(conv, Convolution):
        return conv or "no convolution computes its input"
    reader = sole_reader(conv.output)
    if isinstance(reader, str):
        return reader
    step = read_batch_norm(node, conv.output_layout.channels)
    return step if isinstance(step, str) or step is None else fold_after(editor, conv, [step])


def _into_readers(editor: Editor, node: ir.Node, convs: list[Convolution] | str) -> str | None:
    if isinstance(convs, str):
        return convs
    step = read_batch_norm(node, convs[0].input_layout.channels)
    return step if isinstance(step, str) or step is None else fold_before(editor, [step], convs)
