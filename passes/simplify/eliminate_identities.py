"""Removes Identity nodes wherever names allow it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass


@dataclass(frozen=True)
class EliminateIdentities(Pass):
    """z = g(Identity(x)) → z = g(x).

    Readers in subgraphs follow. An Identity that makes a graph output goes too, and its source
    takes the output's name, type and shape, unless the source has a claim of its own: it is an
    input, an initializer, another output, or a value of an outer graph.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Identity"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Bypass every Identity of every graph and function."""
        editor = Editor(model)
        for node in edit.all_nodes(model):
            if not edit.is_op(node, "Identity") or len(node.inputs) != 1:
                continue
            source, result = node.inputs[0], node.outputs[0]
            if source is None:
                continue
            if not editor.bypass(result, source):
                yield Note.refused(node, f"has to stay: {_claim(source)}")
                continue
            _complete(source, result)
            yield Note.applied(node, f"reads and passes on {source.name}")
            edit.remove(node)


def _claim(source: ir.Value) -> str:
    if source.is_graph_output():
        return "it makes one value two graph outputs"
    if source.is_graph_input():
        return "it makes a graph input a graph output"
    if source.producer() is None:
        return "it makes an initializer a graph output"
    return "it brings a value of an outer graph out of this one"


def _complete(source: ir.Value, result: ir.Value) -> None:
    """Keep what only the removed value declared."""
    if source.type is None:
        source.type = result.type
    if source.shape is None:
        source.shape = result.shape
