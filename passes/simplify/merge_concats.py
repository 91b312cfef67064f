"""Makes a concatenation inside another one part of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._calls import takes_options
from onnxopt_passes.simplify._facts import Facts, facts_of


@dataclass(frozen=True)
class MergeConcats(Pass):
    """Concat(Concat(a, b), c) → Concat(a, b, c) along one axis, where nothing else reads the inner.

    Axes that count from different ends are the same only where the rank is known.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Concat"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge along chains, first to last, in every graph and function."""
        facts, editor = facts_of(model), Editor(model)
        for node in edit.all_nodes(model):
            if not edit.is_op(node, "Concat"):
                continue
            inner = [_absorbed(node, value, facts) for value in node.inputs]
            gone = [part for part in inner if part is not None]
            if not gone:
                continue
            parts: list[ir.Value | None] = []
            for value, part in zip(node.inputs, inner, strict=True):
                parts += [value] if part is None else list(part.inputs)
            node.resize_inputs(len(parts))
            for index, value in enumerate(parts):
                node.replace_input_with(index, value)
            edit.record_origin(node, [*gone, node])
            for part in gone:
                yield Note.applied(node, f"takes over the parts of {edit.label(part)}")
            editor.sweep(*gone)


def _absorbed(node: ir.Node, value: ir.Value | None, facts: Facts) -> ir.Node | None:
    """The concatenation that makes a part, along the same axis and for this one only."""
    inner = None if value is None else value.producer()
    if value is None or inner is None or not edit.is_op(inner, "Concat"):
        return None
    if edit.only_consumer(value) is not node or takes_options(node) or takes_options(inner):
        return None
    mine, other = (edit.attribute(n, "axis", 1) for n in (node, inner))
    if mine == other:
        return inner
    shape = facts.shape(value)
    if shape is None or not (isinstance(mine, int) and isinstance(other, int)):
        return None
    return inner if mine % len(shape) == other % len(shape) else None
