"""Keeps one of several equal weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._tensor_key import digest, shallow_key


@dataclass(frozen=True)
class MergeDuplicateInitializers(Pass):
    """f(w1), g(w2) → f(w1), g(w1) where w1 and w2 have one type, one shape and the same bits.

    The first keeps its name. A subgraph's weight also gives way to an equal one of a graph around
    it. Weights that a caller may override (graph inputs) and graph outputs are left alone. Only
    tensors whose types, shapes and first bytes coincide are read in full.
    """

    exactness = Exactness.BITWISE

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge in the main graph, then in its subgraphs, and in those inside functions."""
        weights = (value for graph in edit.all_graphs(model) for value in _mergeable(graph))
        kinds = Counter(_kind(value) for value in weights)
        repeated = frozenset(kind for kind, count in kinds.items() if count > 1)
        yield from _merge(model.graph, _Known(), repeated)
        for function in model.functions.values():
            yield from _merge(function.graph, _Known(), repeated)


class _Known:
    """The weights seen in a graph and in those around it, by shallow key and then by hash."""

    def __init__(self, outer: _Known | None = None) -> None:
        self._outer = outer
        self._found: dict[Hashable, list[ir.Value]] = {}
        self._digests: dict[ir.Value, bytes] = outer._digests if outer else {}

    def twin(self, value: ir.Value, tensor: ir.TensorProtocol) -> ir.Value | None:
        """The weight that equals this one, where one is known; else it is known from now on."""
        key = shallow_key(tensor)
        twin = self._find(key, value)
        if twin is None:
            self._found.setdefault(key, []).append(value)
        return twin

    def _find(self, key: Hashable, value: ir.Value) -> ir.Value | None:
        for candidate in self._found.get(key, ()):
            if self._digest(candidate) == self._digest(value):
                return candidate
        return None if self._outer is None else self._outer._find(key, value)

    def _digest(self, value: ir.Value) -> bytes:
        if value not in self._digests:
            tensor = value.const_value
            self._digests[value] = b"" if tensor is None else digest(tensor)
        return self._digests[value]


def _merge(graph: ir.Graph, known: _Known, repeated: frozenset[Hashable]) -> Iterator[Note]:
    for value in list(_mergeable(graph)):
        tensor = value.const_value
        if tensor is None or _kind(value) not in repeated:
            continue
        twin = known.twin(value, tensor)
        if twin is not None:
            value.replace_all_uses_with(twin)
            edit.drop_if_unread(value)
            yield Note.applied(value, f"holds the same bits as {twin.name}")
    for node in graph:
        for subgraph in edit.subgraphs(node):
            yield from _merge(subgraph, _Known(known), repeated)


def _mergeable(graph: ir.Graph) -> Iterator[ir.Value]:
    for value in graph.initializers.values():
        if not (value.is_graph_input() or value.is_graph_output()):
            yield value


def _kind(value: ir.Value) -> Hashable:
    """Type and shape: known without reading the data."""
    tensor = value.const_value
    return None if tensor is None else (tensor.dtype, tuple(tensor.shape.numpy()))
