"""Removes nodes that pass an input on as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._bypass import pass_on
from onnxopt_passes.simplify._facts import Facts, facts_of
from onnxopt_passes.simplify._neutral import EXACT, other_operand
from onnxopt_passes.simplify._noops import NOOPS, chosen_branch, put_together


@dataclass(frozen=True)
class EliminateNoops(Pass):
    """z = g(f(x)) → z = g(x), where f changes neither the bits nor the shape nor the type of x.

    Cast to the own type; Reshape, Expand, Squeeze, Resize to the own shape; Transpose in the own
    order; Slice and Gather of everything; Pad by nothing; Tile once; Flatten of a matrix; Concat,
    Split, Sum, Mean, Min, Max of one; Concat of what a Split took apart; Dropout outside training;
    Scatter of nothing; Where with a constant condition; x·1, x/1, x¹, x-0, x + (-0.0), n + 0,
    p and true, p or false. Shapes are compared with their symbolic sizes, so a constant that
    broadcasts x to another shape stays.
    """

    exactness = Exactness.BITWISE

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Bypass in every graph and function."""
        facts, editor = facts_of(model), Editor(model)
        for node, version in edit.nodes_with_opset(model):
            source = _passed_on(node, version, facts)
            if source is not None:
                yield from pass_on(node, source, editor)


def _passed_on(node: ir.Node, version: int, facts: Facts) -> ir.Value | None:
    if node.domain or not node.inputs or not node.outputs or _reads_more(node):
        return None
    if node.op_type == "Where":
        return chosen_branch(node, facts)
    if node.op_type == "Concat" and len(node.inputs) > 1:
        return put_together(node)
    rule = NOOPS.get(node.op_type)
    if rule is not None:
        return node.inputs[0] if node.inputs[0] is not None and rule(node, version, facts) else None
    return other_operand(node, version, facts, EXACT)


def _reads_more(node: ir.Node) -> bool:
    """Whether an output beside the first is needed, or options come from a caller."""
    needed = any(edit.use_count(out) or out.is_graph_output() for out in node.outputs[1:])
    return needed or any(attr.is_ref() for attr in node.attributes.values())
