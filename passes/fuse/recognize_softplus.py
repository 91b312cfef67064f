"""recognize-softplus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._algebra import FIRST_OPSET, ONE, expand, float_type, leak, power
from onnxopt_passes.fuse._ramp import RUNNABLE
from onnxopt_passes.fuse._shape import Layouts


@dataclass(frozen=True)
class RecognizeSoftplus(Pass):
    """``ln(1 + exp(x)) = Softplus(x)``.

    The result no longer overflows where ``exp(x)`` does. Nothing else may read what lies in
    between. ONNX Runtime's CPU provider computes Softplus slower than the three nodes;
    spell-softplus-by-exp writes it as it likes it.
    """

    looks_for = frozenset({"Log"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each Log."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in list(nodes_with_opset(model)):
            if version >= FIRST_OPSET and is_op(node, "Log"):
                note = _try(editor, layouts, node)
                if note is not None:
                    yield note


def _try(editor: Editor, layouts: Layouts, last: ir.Node) -> Note | None:
    total = last.inputs[0]
    producer = None if total is None else total.producer()
    for value in producer.inputs if producer is not None else ():
        exponential = None if value is None else value.producer()
        if total is None or value is None or not is_op(exponential, "Exp"):
            continue
        found = expand(total, {value})
        if found is None or dict(found.terms) != {ONE: 1.0, power(value, 1): 1.0}:
            continue
        if found.constant_rank > (layouts[value].rank or 0) or exponential is None:
            return Note.refused(last, "a constant may add axes to the result")
        nodes = found.nodes | {exponential, last}
        dtype = float_type(nodes)
        if dtype not in RUNNABLE:
            return Note.refused(last, f"no runtime computes Softplus in {dtype}")
        read = leak(nodes, last)
        if read is not None:
            return Note.refused(last, f"{read.name} is read elsewhere too")
        return _replace(editor, exponential, nodes, last)
    return None


def _replace(
    editor: Editor, exponential: ir.Node, nodes: frozenset[ir.Node], last: ir.Node
) -> Note:
    name, origin = f"{label(last)}/softplus", sorted(nodes, key=label)
    new = editor.insert_before(last, "Softplus", exponential.inputs, name, origin=origin)
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{len(nodes)} nodes became Softplus")
