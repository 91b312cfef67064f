"""Puts the branch that is always taken in place of its If."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._splice import Splicer


@dataclass(frozen=True)
class InlineConstantBranches(Pass):
    """If(true){A}{B} → A, If(false){A}{B} → B.

    Names of the branch that the model also has elsewhere are made fresh. A branch that holds
    weights stays in a function and below IR version 4, where these have no place outside. So does
    one that gives a vector to Range: that runs only as long as its rank is not known.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"If"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Inline outermost first; what stands in a branch is then looked at in its new place."""
        pending = [node for node in edit.all_nodes(model) if _taken(node) is not None]
        splicer = Splicer(model) if pending else None
        for node in pending:
            branch = _taken(node)
            if splicer is None or branch is None or node.graph is None:
                continue
            obstacle = splicer.obstacle(branch, node) or _strict_reader(node, branch)
            if obstacle:
                yield Note.refused(node, f"the branch is always taken, but {obstacle}")
                continue
            results = splicer.splice(branch, node)
            splicer.stand_in(node, results)
            edit.remove(node)
            yield Note.applied(node, f"always takes its {branch.name or 'one'} branch")


def _strict_reader(node: ir.Node, branch: ir.Graph) -> str:
    """Why a reader would refuse what the branch gives, once that is known."""
    for old, new in zip(node.outputs, branch.outputs, strict=True):
        tensor = edit.constant_tensor(new)
        rank = edit.rank(new) if tensor is None else len(tensor.shape)
        if rank and any(edit.is_op(use.node, "Range") for use in old.uses()):
            return "a Range reads a vector from it, where a scalar is due"
    return ""


def _taken(node: ir.Node) -> ir.Graph | None:
    """The branch that an If always takes."""
    if not edit.is_op(node, "If"):
        return None
    condition = edit.constant(node.inputs[0])
    if condition is None or condition.size != 1:
        return None
    attr = node.attributes.get("then_branch" if condition.reshape(-1)[0] else "else_branch")
    return None if attr is None or attr.is_ref() else attr.as_graph()
