"""Moves the contents of a subgraph to where its node stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt_passes.simplify._arrays import as_tensor

_IR_OF_FREE_WEIGHTS = 4


class Splicer:
    """Moves nodes and weights of subgraphs into the graph around them, in one model."""

    def __init__(self, model: ir.Model) -> None:
        self.editor = Editor(model)
        self.editor.read_names()
        self._bodies = {function.graph for function in model.functions.values()}
        self._weights_are_inputs = model.ir_version < _IR_OF_FREE_WEIGHTS
        values = (value for graph in edit.all_graphs(model) for value in _own_values(graph))
        self._owners = Counter(value.name for value in values if value.name)

    def obstacle(self, body: ir.Graph, anchor: ir.Node) -> str:
        """Why a body cannot move to before a node; empty where it can."""
        if not body.initializers:
            return ""
        if anchor.graph in self._bodies:
            return "its weights have no place in a function"
        return "its weights would become inputs" if self._weights_are_inputs else ""

    def splice(self, body: ir.Graph, anchor: ir.Node, *, copied: bool = False) -> list[ir.Value]:
        """Move a body without inputs to before a node, and return what were its outputs.

        Args:
            body: It is empty afterwards.
            anchor: A node of the graph that takes it in.
            copied: Whether values of these names stay in the model elsewhere.
        """
        results = list(body.outputs)
        body.outputs.clear()
        graph = anchor.graph
        if graph is None:
            raise ValueError(f"node {edit.label(anchor)} belongs to no graph")
        weights, nodes = list(body.initializers.values()), list(body)
        body.initializers.clear()
        body.remove(nodes)
        inside = (value for inner in _graphs_of(nodes) for value in _own_values(inner))
        made = (value for node in nodes for value in node.outputs)
        for value in [*weights, *made, *inside]:
            self._rename(value, copied)
        for weight in weights:
            graph.register_initializer(weight)
        for node in nodes:
            if copied and node.name:
                node.name = self.editor.fresh(node.name)
        graph.insert_before(anchor, nodes)
        return results

    def stand_in(self, node: ir.Node, results: Iterable[ir.Value]) -> None:
        """Let spliced values stand in for a node's outputs, under their names."""
        taken: set[ir.Value] = set()
        for old, new in zip(node.outputs, results, strict=True):
            maker = new.producer()
            fresh = maker is not None and maker.graph is node.graph and new not in taken
            if fresh and not new.is_graph_output():
                taken.add(new)
                declared = old.shape if old.is_graph_output() else None
                self.editor.replace(old, new)
                new.shape = declared if declared is not None else new.shape
            elif not self.editor.bypass(old, new):
                copy = self.editor.insert_before(node, "Identity", [new], f"{old.name}/same")
                self.editor.replace(old, copy)

    def _rename(self, value: ir.Value, copied: bool) -> None:
        name = value.name
        if not name or not (copied or self._owners[name] > 1):
            return
        self._owners[name] -= 0 if copied else 1
        tensor, value.const_value = value.const_value, None  # shared with the caller's model
        value.name = self.editor.fresh(name)
        if tensor is not None:
            value.const_value = as_tensor(tensor.numpy(), value.name, tensor.dtype)


def _own_values(graph: ir.Graph) -> list[ir.Value]:
    weights = [value for value in graph.initializers.values() if not value.is_graph_input()]
    made = [value for node in graph for value in node.outputs]
    return [*graph.inputs, *weights, *made]


def _graphs_of(nodes: Iterable[ir.Node]) -> list[ir.Graph]:
    """All graphs inside nodes, at any depth."""
    found = [graph for node in nodes for graph in edit.subgraphs(node)]
    return found + [inner for graph in found for inner in _graphs_of(graph)]
