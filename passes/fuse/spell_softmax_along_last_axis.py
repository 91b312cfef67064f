"""spell-softmax-along-last-axis."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass

_ALONG_ONE_AXIS = 13
"""Before it, Softmax flattens its input to rows."""


@dataclass(frozen=True)
class SpellSoftmaxAlongLastAxis(Pass):
    """``Softmax(x; axis) = Tᵀ(R⁻¹(Softmax(R(T(x)); last)))`` with T the transposition that brings
    the axis last and R a Reshape that keeps it.

    ONNX Runtime's CPU kernel walks an inner axis element by element (15 times slower). The
    Reshape to rows stands between because the runtime would otherwise undo the transpositions.
    Likewise LogSoftmax. Axes of size 1 behind the axis count as last already.

    Attributes:
        least: Leave tensors alone that are known to have fewer elements: moving them costs as much.
    """

    looks_for = frozenset({"LogSoftmax", "Softmax"})

    least: int = 8192

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Replace each Softmax over an inner axis of a tensor of known rank."""
        editor = Editor(model)
        for node, version in nodes_with_opset(model):
            if version < _ALONG_ONE_AXIS or not is_op(node, "Softmax", "LogSoftmax"):
                continue
            note = None if _is_small(node, self.least) else _replace(editor, node)
            if note is not None:
                yield note


def _is_small(node: ir.Node, least: int) -> bool:
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    sizes = [dim for dim in shape or () if isinstance(dim, int)]
    return shape is not None and len(sizes) == len(shape) and math.prod(sizes) < least


def _replace(editor: Editor, node: ir.Node) -> Note | None:
    source = node.inputs[0]
    if source is None or any(attr.is_ref() for attr in node.attributes.values()):
        return None
    if source.shape is None:
        return Note.refused(node, "the rank of its input is unknown")
    rank = len(source.shape)
    axis = int(str(attribute(node, "axis", -1))) % max(rank, 1)
    if all(dim == 1 for dim in list(source.shape)[axis + 1 :]):
        return None
    size = source.shape[axis]
    if not isinstance(size, int):
        return Note.refused(node, f"the size of axis {axis} is unknown")
    base = label(node)
    order = [*(a for a in range(rank) if a != axis), axis]
    back = [order.index(a) for a in range(rank)]

    def add(op: str, inputs: list[ir.Value], name: str, **attributes: int | list[int]) -> ir.Value:
        return editor.insert_before(
            node, op, inputs, f"{base}/{name}", dict(attributes), origin=[node]
        )

    rows = editor.constant(node, f"{base}/rows", np.array([-1, size], np.int64))
    turned = add("Transpose", [source], "turned", perm=order)
    sizes = add("Shape", [turned], "sizes")
    flat = add("Reshape", [turned, rows], "flat")
    soft = add(node.op_type, [flat], "soft", axis=1)
    unflat = add("Reshape", [soft, sizes], "unflat")
    new = add("Transpose", [unflat], "back", perm=back)
    editor.replace(node.outputs[0], new)
    editor.sweep(node)
    return Note.applied(new, f"{node.op_type} over axis {axis} of {rank} runs along the last one")
