"""Graphs must define what they read, before they read it."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import onnx_ir as ir

from onnxopt.errors import ModelError
from onnxopt.guard import printable, subgraphs

_SHOWN = 8


def settle(model: ir.Model) -> None:
    """Check every value read, and sort the nodes of graphs that are merely out of order.

    Raises:
        ModelError: A value is read or returned that nothing defines, or nodes form a cycle.
    """
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        if not _is_sorted(graph, set()):
            _refuse_cycle(graph)
            graph.sort()


def _is_sorted(graph: ir.Graph, done: set[ir.Node]) -> bool:
    """Whether each node reads only what is in ``done`` or before it; all of it must exist."""
    in_order = True
    for node in graph:
        for value in node.inputs:
            if value is None:
                continue
            producer = value.producer()
            if producer is None:
                _require_defined(value, node)
            elif producer not in done:
                in_order = False
        for attr in node.attributes.values():
            for inner in subgraphs(attr):
                in_order &= _is_sorted(inner, done)
        done.add(node)
    for value in graph.outputs:
        if value.producer() is None:
            _require_defined(value, None)
    return in_order


def _require_defined(value: ir.Value, reader: ir.Node | None) -> None:
    if value.is_graph_input() or value.is_initializer():
        return
    name = printable(value.name or "")
    if reader is None:
        raise ModelError(f"nothing computes the graph output {name!r}", "a node with this output")
    label = printable(reader.name or reader.op_type)
    raise ModelError(f"node {label!r} reads {name!r}, which nothing defines", "a defined value")


def _refuse_cycle(graph: ir.Graph) -> None:
    for nodes in (graph, *graph.subgraphs()):
        try:
            TopologicalSorter({node: set(_needs(node)) for node in nodes}).prepare()
        except CycleError as error:
            loop = [printable(node.name or node.op_type) for node in reversed(error.args[1])]
            shown = " -> ".join(loop if len(loop) < _SHOWN else [*loop[:_SHOWN], "..."])
            raise ModelError(f"the nodes form a cycle: {shown}", "an acyclic graph") from None


def _needs(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes of the same graph that a node and its subgraphs read from."""
    pending = [node]
    while pending:
        inner = pending.pop()
        for value in inner.inputs:
            producer = value.producer() if value is not None else None
            if producer is not None and producer.graph is node.graph:
                yield producer
        for attr in inner.attributes.values():
            for graph in subgraphs(attr):
                pending += graph
