"""recognize-softmax."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._algebra import ARITHMETIC, FIRST_OPSET, expand, leak, power, readers
from onnxopt_passes.fuse._reduction import misaligned, same_order
from onnxopt_passes.fuse._shape import Layouts
from onnxopt_passes.fuse._softmax import Exponentials, axis_attribute, read_exponentials

_WALKED = (*ARITHMETIC, "Expand", "Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class RecognizeSoftmax(Pass):
    """``exp(x - max(x))/sum(exp(x - max(x))) = Softmax(x)`` along one axis.

    Also without the maximum, where the result no longer overflows. Sum and maximum may drop their
    axis and get it back by Reshape. Nothing else may read what lies in between. Below opset 13
    only the last axis can be written.
    """

    looks_for = frozenset({"Exp"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each Exp."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in list(nodes_with_opset(model)):
            if version < FIRST_OPSET or node.graph is None or not is_op(node, "Exp"):
                continue
            for found in read_exponentials(node, layouts):
                note = _try(editor, layouts, found, version)
                if note is not None:
                    yield note
                    break


def _try(editor: Editor, layouts: Layouts, found: Exponentials, version: int) -> Note | None:
    total, value = found.total.result, found.exponential
    wanted = {power(value, 1) | power(total, -1): 1.0}
    refusal = None
    for last in reversed(readers(total, _WALKED)):
        quotient = expand(last.outputs[0], {value, total}, same_order)
        if quotient is None or dict(quotient.terms) != wanted or same_order(last) is not None:
            continue
        if quotient.constant_rank > 0:
            continue
        nodes = quotient.nodes | found.nodes
        odd, read = misaligned(nodes, found.rows, found.source), leak(nodes, last)
        if odd is not None:
            reason = f"the shape of {odd.name} does not fit {found.source.name}"
            refusal = Note.refused(last, reason)
            continue
        if read is not None:
            return Note.refused(last, f"{read.name} is read elsewhere too")
        axis = axis_attribute(found.total.axes[0], layouts[found.source].rank, version)
        if isinstance(axis, str):
            return Note.refused(last, axis)
        return _replace(editor, found.source, nodes, last, axis)
    return refusal


def _replace(
    editor: Editor, source: ir.Value, nodes: frozenset[ir.Node], last: ir.Node, axis: int
) -> Note:
    name = f"{label(last)}/softmax"
    origin = sorted(nodes, key=label)
    new = editor.insert_before(last, "Softmax", [source], name, {"axis": axis}, origin=origin)
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{len(nodes)} nodes became Softmax")
