"""Removes weights nobody reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.transform import Context, Exactness, Note, Pass


@dataclass(frozen=True)
class EliminateUnusedInitializers(Pass):
    """Drops each initializer, of any graph, that no node reads and no output is.

    One that is also a graph input belongs to the signature and stays until
    ``freeze-default-inputs`` has taken it out.
    """

    exactness = Exactness.BITWISE

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Drop what is unread in all graphs."""
        for graph in edit.all_graphs(model):
            for value in list(graph.initializers.values()):
                if not edit.use_count(value) and value.is_graph_input():
                    yield Note.refused(value, "unread, but callers may feed it as an input")
                elif edit.drop_if_unread(value):
                    yield Note.applied(value, "nothing reads this initializer")
