"""Names the type that a conversion takes from another tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._facts import facts_of

_FLOAT8_OPTIONS = ("round_mode", "saturate")


@dataclass(frozen=True)
class SpellCastLikeAsCast(Pass):
    """CastLike(x, y: T) → Cast<to=T>(x), where the type of y is known.

    Then x can be a constant while y is none, and nothing has to compute y for its type alone.
    Options that only concern 8-bit floats go with other types, where runtimes refuse them.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"CastLike"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Rewrite in every graph and function."""
        facts, editor = facts_of(model), Editor(model)
        for node in edit.all_nodes(model):
            if not edit.is_op(node, "CastLike") or len(node.inputs) < 2:
                continue
            to = facts.dtype(node.inputs[1])
            if to is None or to == ir.DataType.UNDEFINED:
                yield Note.refused(node, "the type it converts to is unknown")
                continue
            yield _replace(editor, node, to)


def _replace(editor: Editor, node: ir.Node, to: ir.DataType) -> Note:
    name = f"{edit.label(node)}/cast"
    new = editor.insert_before(node, "Cast", node.inputs[:1], name, {"to": int(to)}, origin=[node])
    cast = new.producer()
    for option in _FLOAT8_OPTIONS if to.name.startswith("FLOAT8") else ():
        if cast is not None and option in node.attributes:
            cast.attributes[option] = node.attributes[option]
    editor.replace(node.outputs[0], new)
    editor.sweep(node)
    return Note.applied(new, f"converts to {to.name}")
