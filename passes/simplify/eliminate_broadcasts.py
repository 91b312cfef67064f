"""Removes copies that broadcasting makes by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._facts import Facts, facts_of
from onnxopt_passes.simplify._result_shapes import Sizes, broadcast

_BROADCASTS_SINCE = 8
_BROADCAST = frozenset(
    {
        "Add",
        "And",
        "Div",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Or",
        "Pow",
        "Sub",
        "Where",
        "Xor",
    }
)


@dataclass(frozen=True)
class EliminateBroadcasts(Pass):
    """Expand(x, s) + y → x + y, where y has the shape s as well.

    For every op that broadcasts, when all that read the Expand are such ops and their results keep
    their shapes.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Expand"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Bypass in the main graph and its subgraphs."""
        facts, editor = facts_of(model), Editor(model)
        for node, version in edit.nodes_with_opset(model):
            if not edit.is_op(node, "Expand") or version < _BROADCASTS_SINCE:
                continue
            source, result = node.inputs[0], node.outputs[0]
            if source is None or not _is_superfluous(source, result, facts):
                continue
            result.replace_all_uses_with(source)
            yield Note.applied(node, f"its readers broadcast {source.name} themselves")
            editor.sweep(node)


def _is_superfluous(source: ir.Value, result: ir.Value, facts: Facts) -> bool:
    readers = {use.node for use in result.uses()}
    if not readers or result.is_graph_output():
        return False
    return all(_keeps_shape(reader, source, result, facts) for reader in readers)


def _keeps_shape(reader: ir.Node, source: ir.Value, result: ir.Value, facts: Facts) -> bool:
    """Whether a reader's result has the same shape when it reads the source itself."""
    if reader.domain or reader.op_type not in _BROADCAST:
        return False
    total: Sizes = ()
    for value in reader.inputs:
        shape = facts.shape(source if value is result else value)
        if shape is None:
            return False
        total = broadcast(total, shape)
    wanted = facts.shape(reader.outputs[0])
    return wanted is not None and None not in total and total == wanted
