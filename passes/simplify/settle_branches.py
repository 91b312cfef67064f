"""Finds the branch of an If that is the only one that can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._inference import InferenceFailed, infer
from onnxopt_passes.simplify._ranks import BRANCHES, Ranks, fails


@dataclass(frozen=True)
class SettleBranches(Pass):
    """``y = If(c){squeeze(x)}{x}; LSTM(y)`` → ``y = If(true){squeeze(x)}{x}; LSTM(y)``.

    torch's exporter writes ``squeeze`` of an axis of open size as an If, with a branch for the
    case that the axis has another size than 1. What follows then gets a tensor of one axis too
    many: a recurrent layer wants three, a Conv as many as its weight, a Gemm two, a Transpose
    those that it names. That branch cannot have led to a result, so the other one is what the
    model means; on an input that led there, it fails now in another node. Later Ifs that ask for
    the number of axes are followed to the branch they would take.

    An If within a branch that asks for that branch's own condition is told the answer.
    What the file declares of tensors inside does not count, for it may be wrong: only what follows
    from the inputs.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"If"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Look at all Ifs with open conditions, those of outer graphs first."""
        open_ifs = [node for node in edit.all_nodes(model) if _is_open(node)]
        if not open_ifs:
            return
        editor = edit.Editor(model)
        for node in open_ifs:
            settled = _settle_inner(editor, node)
            if settled:
                yield Note.applied(node, f"{settled} Ifs in its branches ask for its own condition")
        open_ifs = [node for node in open_ifs if _is_open(node) and _may_decide(node)]
        if not open_ifs:
            return
        try:
            inferred = infer(model, trust_declared=False)
        except InferenceFailed as error:
            yield Note.refused(open_ifs[0], f"shapes cannot be inferred: {error}")
            return
        known = {v: len(found.shape) for v, found in inferred.items() if found.shape is not None}
        for node in open_ifs:
            reasons = [_why_not(node, branch, known) for branch in _branches(node)]
            if any(reasons) and not all(reasons):
                taken = not reasons[0]
                name = f"{edit.label(node)}/taken"
                node.replace_input_with(0, editor.constant(node, name, np.asarray(taken)))
                failing = "else" if taken else "then"
                yield Note.applied(node, f"its {failing} branch can only fail: {max(reasons)}")


def _branches(node: ir.Node) -> list[ir.Graph]:
    return [node.attributes[name].as_graph() for name in BRANCHES]


def _is_open(node: ir.Node) -> bool:
    """Whether a node is an If of which both branches are known and the condition is not."""
    attrs = [node.attributes.get(name) for name in BRANCHES]
    held = all(attr is not None and not attr.is_ref() for attr in attrs)
    return edit.is_op(node, "If") and held and not edit.is_constant(node.inputs[0])


def _may_decide(node: ir.Node) -> bool:
    """Whether branches may differ in the axes of what they give, or one has a node that fails."""
    then, other = _branches(node)
    ranks = [(edit.rank(a), edit.rank(b)) for a, b in zip(then.outputs, other.outputs, strict=True)]
    if any(first is None or first != second for first, second in ranks):
        return True
    inner = (member for branch in (then, other) for member in branch if member.inputs)
    found = ((member, edit.rank(member.inputs[0])) for member in inner)
    return any(rank is not None and fails(member, rank) for member, rank in found)


def _settle_inner(editor: edit.Editor, node: ir.Node) -> int:
    """Give inner Ifs of the same condition its value; returns how many there were."""
    condition, settled = node.inputs[0], 0
    for taken, branch in zip((True, False), _branches(node), strict=True):
        for inner in list(branch.all_nodes()):
            if edit.is_op(inner, "If") and inner.inputs[0] is condition and condition is not None:
                value = editor.constant(inner, f"{condition.name}/known", np.asarray(taken))
                inner.replace_input_with(0, value)
                settled += 1
    return settled


def _why_not(node: ir.Node, branch: ir.Graph, known: Mapping[ir.Value, int]) -> str:
    """Which node fails whenever an If takes a branch; empty where none is seen to."""
    ranks = Ranks(known)
    ranks.take(node, branch)
    if ranks.failed is None and node.graph is not None:
        depends = {node}
        for other in _after(node):
            if any(v is not None and v.producer() in depends for v in other.inputs):
                depends.add(other)
                ranks.run([other])
    if ranks.failed is None:
        return ""
    failing, rank = ranks.failed
    return f"{edit.label(failing)} ({failing.op_type}) would read {rank} axes"


def _after(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes of the same graph that come after a node."""
    found = False
    for other in node.graph or ():
        if found:
            yield other
        found = found or other is node
