"""own-loop-constants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass

_IR_OF_FREE_WEIGHTS = 4
_MATRIX_RANK = 2


@dataclass(frozen=True)
class OwnLoopConstants(Pass):
    """Gives constants that only the body of a loop reads to the body.

    For ONNX Runtime's CPU provider, which hands every outside value to the body anew in each
    iteration, and packed weights the slow way: a step of a small GRU takes 12 us in place of 15,
    the loop of a table recognizer a seventh less time.

    Attributes:
        most_bytes: Matrices up to this size that others read, too, are copied.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Loop", "Scan"})

    most_bytes: int = 65_536

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Look at every loop, those inside first."""
        if model.ir_version < _IR_OF_FREE_WEIGHTS:
            return
        editor = Editor(model)
        loops = [node for node in edit.all_nodes(model) if edit.is_op(node, "Loop", "Scan")]
        for node in reversed(loops):
            attr = node.attributes.get("body")
            if attr is None or attr.is_ref():
                continue
            body = attr.as_graph()
            inside = set(body.all_nodes())
            count = 0
            for value in dict.fromkeys(_read_from_outside(body)):
                count += self._own(editor, body, inside, value)
            if count:
                yield Note.applied(node, f"its body holds {count} constants itself")

    def _own(self, editor: Editor, body: ir.Graph, inside: set[ir.Node], value: ir.Value) -> bool:
        """Move or copy one constant into a body; whether that was done."""
        tensor, name = value.const_value, value.name
        if tensor is None or name is None or value.is_graph_input() or value.is_graph_output():
            return False
        uses = [(node, place) for node, place in value.uses() if node in inside]
        if value.graph is not None and len(uses) == len(value.uses()):
            del value.graph.initializers[name]
            body.register_initializer(value)
            return True
        if len(tensor.shape) < _MATRIX_RANK or tensor.nbytes > self.most_bytes:
            return False
        copy = ir.Value(
            name=editor.fresh(f"{name}/inside"),
            shape=value.shape,
            type=value.type,
            const_value=tensor,
        )
        body.register_initializer(copy)
        for node, place in uses:
            node.replace_input_with(place, copy)
        return True


def _read_from_outside(body: ir.Graph) -> Iterator[ir.Value]:
    """Initializers of graphs around a body that nodes in it read."""
    own = {v for graph in (body, *body.subgraphs()) for v in graph.initializers.values()}
    for node in body.all_nodes():
        for value in node.inputs:
            if value is not None and value.is_initializer() and value not in own:
                yield value
