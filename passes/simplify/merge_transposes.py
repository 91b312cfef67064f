"""Makes two transpositions in a row one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._attributes import ints_of
from onnxopt_passes.simplify._bypass import pass_on


@dataclass(frozen=True)
class MergeTransposes(Pass):
    """Transpose(Transpose(x, p), q) → Transpose(x, r) with r[i] = p[q[i]]; x where r is identity.

    The inner one stays where something else reads it.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Transpose"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge along chains, first to last, in every graph and function."""
        editor = Editor(model)
        for node in edit.all_nodes(model):
            if not edit.is_op(node, "Transpose") or node.inputs[0] is None:
                continue
            inner = node.inputs[0].producer()
            if inner is None or not edit.is_op(inner, "Transpose"):
                continue
            order, source = _combined(inner, node), inner.inputs[0]
            if order is None or source is None:
                continue
            if order == list(range(len(order))):
                yield from pass_on(node, source, editor)
                continue
            node.replace_input_with(0, source)
            node.attributes["perm"] = ir.AttrInt64s("perm", order)
            edit.record_origin(node, [inner, node])
            editor.sweep(inner)
            yield Note.applied(node, f"transposes by {order} what {edit.label(inner)} reads")


def _combined(inner: ir.Node, outer: ir.Node) -> list[int] | None:
    first, second = _order(inner, outer), _order(outer, inner)
    if first is None or second is None or len(first) != len(second):
        return None
    return [first[place] for place in second]


def _order(node: ir.Node, other: ir.Node) -> list[int] | None:
    """The permutation; the default, which is all axes reversed, has the other's length."""
    order = ints_of(node, "perm")
    if order is not None or "perm" in node.attributes:
        return order
    ranks = (edit.rank(node.inputs[0]), edit.rank(other.inputs[0]))
    length = len(ints_of(other, "perm") or ()) or next((n for n in ranks if n is not None), None)
    return None if length is None else list(range(length))[::-1]
