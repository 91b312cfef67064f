"""Computes equal subexpressions once."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._determinism import Determinism
from onnxopt_passes.simplify._node_key import NodeKeys

_FREE = frozenset({"Constant", "Identity"})
_RARE = frozenset(
    dtype
    for dtype in ir.DataType
    if dtype.name.startswith(("FLOAT4", "FLOAT8", "INT2", "INT4", "UINT2", "UINT4"))
)


@dataclass(frozen=True)
class MergeDuplicateNodes(Pass):
    """y1 = f(x), y2 = f(x) → y1 = f(x), with every reader of y2 reading y1.

    Two nodes are equal when op, inputs, attributes (by their bits) and the set of outputs they
    make are. Defaults spelled out and axes counted from the end make no difference. Random ops,
    ops of unknown domains and nodes that hold subgraphs are never merged; a node in a subgraph also
    gives way to an equal one that ran before in a graph around it. The first keeps its names,
    unless only the second makes a graph output; where both do, the second becomes an Identity of
    the first.
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
        self._keys = NodeKeys(model)

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
            first = self._first(node, version, seen)
            if first is not node:
                yield self._replace(node, first, version)

    def _first(self, node: ir.Node, version: int, seen: ChainMap[Hashable, ir.Node]) -> ir.Node:
        """The first node that computes the same: this one, where it is new."""
        key, axes = self._keys.of(node, version)
        if not axes:
            return seen.setdefault(key, node)
        if (key, axes) not in seen and key in seen:  # along other axes, or so it is spelled
            for spelling in self._keys.spellings(node, axes):
                if (key, spelling) in seen:
                    return seen[key, spelling]
        seen[key] = node
        return seen.setdefault((key, axes), node)

    def _replace(self, node: ir.Node, first: ir.Node, version: int) -> Note:
        makes_output = any(out.is_graph_output() for out in node.outputs)
        if makes_output and node.op_type in _FREE:
            return Note.refused(node, f"equals {edit.label(first)}, but makes an output of its own")
        if makes_output and node.graph is not first.graph:
            return Note.refused(node, "makes an output of a subgraph, its twin stands outside")
        if makes_output and any(out.dtype in _RARE for out in node.outputs):
            return Note.refused(node, "makes an output of its own, of a type few runtimes copy")
        if makes_output and not version:
            return Note.refused(node, "makes an output of its own, and there is no Identity here")
        for old, new in zip(node.outputs, first.outputs, strict=True):
            if old.name and not self._editor.bypass(old, new):
                copy = self._editor.insert_before(node, "Identity", [new], f"{old.name}/same")
                self._editor.replace(old, copy)
        edit.remove(node)
        return Note.applied(node, f"computes the same as {edit.label(first)}")
