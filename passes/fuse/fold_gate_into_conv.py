"""fold-gate-into-conv."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset, only_consumer
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._low_rank import (
    FIRST_SCAN,
    LowRank,
    conv_per_sample,
    gated_matrix,
    read_low_rank,
)
from onnxopt_passes.fuse._shape import Layouts


@dataclass(frozen=True)
class FoldGateIntoConv(Pass):
    """``g ⊙ (W·v) = (g·W)·v``: a gate goes into the weights of the linear 1×1 Conv before it.

    For one gate a sample and channel that comes from a global pooling of what the Conv reads or
    computes (squeeze and excitation), and a Conv without bias that reads at most ``1/least`` of
    the channels it computes and that nothing else reads. The weights then differ from sample to
    sample: a Scan over the batch unless it is known to be 1.
    """

    looks_for = frozenset({"Conv"})

    least: int = 2

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each product with a gate."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in nodes_with_opset(model):
            if not is_op(node, "Mul") or version < FIRST_SCAN:
                continue
            low = read_low_rank(layouts, node.outputs[0])
            if isinstance(low, str):
                yield Note.refused(node, low)
            elif low is not None and self.least * low.rank <= low.conv.shape[0]:
                yield _fold(editor, node, low, version)


def _fold(editor: Editor, node: ir.Node, low: LowRank, version: int) -> Note:
    if low.gate is None or only_consumer(low.conv.output) is not node:
        return Note.refused(node, f"{low.conv.output.name} is read elsewhere too")
    base = label(node)
    kernels = gated_matrix(editor, node, low, low.gate, base)
    new = conv_per_sample(
        editor,
        node,
        low.source,
        kernels,
        {"kernel_shape": [1, 1]},
        base,
        one_sample=low.one_sample,
        version=version,
    )
    editor.replace(node.outputs[0], new)
    editor.sweep(node)
    return Note.applied(new, f"the gate went into the weights over {low.rank} channels")
