"""Spells computations on sizes in the shortest way."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._bypass import pass_on
from onnxopt_passes.simplify._contents import Content
from onnxopt_passes.simplify._expression import Expression
from onnxopt_passes.simplify._facts import Facts, facts_of
from onnxopt_passes.simplify._fold_known import reads_sizes

_START_AND_END_SINCE = 15
_DEPTH = 6
_WAYS = ("Cast", "Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class SpellSizes(Pass):
    """Unsqueeze(Gather(Shape(x), 1)) → Shape<start=1, end=2>(x); equal sizes are computed once.

    The first for vectors of neighbouring sizes of one tensor, from opset 15 on. The second for
    integer tensors whose elements are equal polynomials of the model's symbolic sizes, however
    they are computed and from whichever tensors; the first one stays.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Shape", "Size"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Rewrite in every graph; sizes of one function are not those of another."""
        if reads_sizes(model):
            facts, editor = facts_of(model), Editor(model)
            for root in (model.graph, *(function.graph for function in model.functions.values())):
                versions = root.opset_imports.get("", 0), edit.opset(model)
                if min(versions) >= _START_AND_END_SINCE:  # ONNX Runtime reads bodies by the latter
                    for graph in [root, *root.subgraphs()]:
                        yield from _shorten(graph, facts, editor)
                yield from _merge(root, facts, editor, ChainMap())


def _shorten(graph: ir.Graph, facts: Facts, editor: Editor) -> Iterator[Note]:
    """Write vectors of neighbouring sizes as one Shape."""
    for node in reversed(graph):
        if not edit.is_op(node, *_WAYS) or not any(out.uses() for out in node.outputs):
            continue
        value = node.outputs[0]
        content = facts.content(value)
        if content is None or content.ndim != 1 or not len(content) or not _is_symbolic(content):
            continue
        found = _neighbours(node, list(content), facts)
        if found is None or facts.dtype(value) != ir.DataType.INT64:
            continue
        source, start, end = found
        bounds = {"start": start, "end": end}
        name = f"{value.name}/sizes"
        shape = editor.insert_before(node, "Shape", [source], name, bounds)
        edit.record_origin(shape.producer(), [node])  # type: ignore[arg-type]
        editor.replace(value, shape)
        editor.sweep(node)
        yield Note.applied(shape, f"sizes {start} to {end} of {source.name} in one node")


def _neighbours(
    node: ir.Node, content: list[object], facts: Facts
) -> tuple[ir.Value, int, int] | None:
    """(tensor, start, end) of sizes that a node picks out of a shape it goes back to."""
    for source in _measured(node, _DEPTH):
        shape = facts.shape(source) or ()
        for start in range(len(shape) - len(content) + 1):
            end = start + len(content)
            if list(shape[start:end]) == content and end - start < len(shape):
                return source, start, end
    return None


def _measured(node: ir.Node, depth: int) -> Iterator[ir.Value]:
    """The tensors whose shapes a computation starts from."""
    for value in node.inputs:
        maker = None if value is None else value.producer()
        if maker is None:
            continue
        if edit.is_op(maker, "Shape") and maker.inputs[0] is not None:
            yield maker.inputs[0]
        elif edit.is_op(maker, *_WAYS) and depth:
            yield from _measured(maker, depth - 1)


def _merge(
    graph: ir.Graph, facts: Facts, editor: Editor, outer: ChainMap[Hashable, ir.Value]
) -> Iterator[Note]:
    """Let equal vectors of sizes be one value."""
    seen = outer.new_child()
    for node in graph:
        for subgraph in edit.subgraphs(node):
            yield from _merge(subgraph, facts, editor, seen)
        if node.domain or len(node.outputs) != 1:
            continue
        value = node.outputs[0]
        content, dtype = facts.content(value), facts.dtype(value)
        if content is None or dtype is None or not _is_symbolic(content):
            continue
        key = (dtype, content.shape, tuple(content.reshape(-1)))
        first = seen.get(key)
        if first is None or _is_gone(first):
            seen[key] = value
        elif not value.is_graph_output():
            yield from pass_on(node, first, editor)


def _is_gone(value: ir.Value) -> bool:
    """Whether its node was taken out with the last one that read it."""
    producer = value.producer()
    return producer is None or producer.graph is None


def _is_symbolic(content: Content) -> bool:
    """Whether every element is known, and some only by name."""
    items = list(content.reshape(-1))
    return None not in items and any(isinstance(x, Expression) for x in items)
