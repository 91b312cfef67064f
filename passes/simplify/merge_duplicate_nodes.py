"""Computes equal subexpressions once."""

from __future__ import annotations

import struct
from collections import ChainMap
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._determinism import Determinism
from onnxopt_passes.simplify._tensor_key import digest, shallow_key

_FREE = frozenset({"Constant", "Identity"})
_PLAIN = frozenset(
    {
        ir.AttributeType.FLOAT,
        ir.AttributeType.FLOATS,
        ir.AttributeType.INT,
        ir.AttributeType.INTS,
        ir.AttributeType.STRING,
        ir.AttributeType.STRINGS,
    }
)


@dataclass(frozen=True)
class MergeDuplicateNodes(Pass):
    """y1 = f(x), y2 = f(x) → y1 = f(x), with every reader of y2 reading y1.

    Two nodes are equal when op, inputs, attributes (by their bits) and the set of outputs they
    make are. Random ops, ops of unknown domains and nodes that hold subgraphs are never merged; a
    node in a subgraph also gives way to an equal one that ran before in a graph around it. The
    first keeps its names, unless only the second makes a graph output; where both do, the second
    becomes an Identity of the first.
    """

    exactness = Exactness.BITWISE

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge in the main graph and in functions, each with its subgraphs."""
        merger = _Merger(model)
        roots = [(model.graph, model.opset_imports)]
        roots += [(f.graph, f.opset_imports) for f in model.functions.values()]
        for graph, imports in roots:
            yield from merger.merge(graph, imports.get("", 0), ChainMap())


class _Merger:
    """One run over one model."""

    def __init__(self, model: ir.Model) -> None:
        self._editor = Editor(model)
        self._determinism = Determinism(model)

    def merge(
        self, graph: ir.Graph, version: int, outer: ChainMap[Hashable, ir.Node]
    ) -> Iterator[Note]:
        """Merge the nodes of one graph, knowing those that ran before in graphs around it."""
        seen = outer.new_child()
        for node in graph:
            for subgraph in edit.subgraphs(node):
                yield from self.merge(subgraph, version, seen)
            if not self._determinism.of(node, version):
                continue
            first = seen.setdefault(_key(node), node)
            if first is not node:
                yield self._replace(node, first)

    def _replace(self, node: ir.Node, first: ir.Node) -> Note:
        makes_output = any(out.is_graph_output() for out in node.outputs)
        if makes_output and node.op_type in _FREE:
            return Note.refused(node, f"equals {edit.label(first)}, but makes an output of its own")
        if makes_output and node.graph is not first.graph:
            return Note.refused(node, "makes an output of a subgraph, its twin stands outside")
        for old, new in zip(node.outputs, first.outputs, strict=True):
            if old.name and not self._editor.bypass(old, new):
                copy = self._editor.insert_before(node, "Identity", [new], f"{old.name}/same")
                self._editor.replace(old, copy)
        edit.remove(node)
        return Note.applied(node, f"computes the same as {edit.label(first)}")


def _key(node: ir.Node) -> Hashable:
    attributes = sorted((name, _attribute_key(attr)) for name, attr in node.attributes.items())
    return (
        node.op_identifier(),
        tuple(node.inputs),
        tuple(attributes),
        tuple(bool(out.name) for out in node.outputs),
    )


def _attribute_key(attr: ir.Attr) -> Hashable:
    """What makes two attributes equal; numbers by their bits, since -0.0 == 0.0."""
    value = attr.value
    if attr.is_ref():
        return ("ref", attr.ref_attr_name)
    if attr.type == ir.AttributeType.TENSOR:
        return (shallow_key(value), digest(value))
    if attr.type in _PLAIN:
        items = value if isinstance(value, list | tuple) else [value]
        return (attr.type, *(struct.pack("<d", x) if isinstance(x, float) else x for x in items))
    return id(attr)
