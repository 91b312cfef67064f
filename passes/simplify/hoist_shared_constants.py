"""Keeps weights that sibling subgraphs share in the graph around them, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._arrays import as_tensor
from onnxopt_passes.simplify._tensor_key import digest, shallow_key

_IR_OF_FREE_WEIGHTS = 4


@dataclass(frozen=True)
class HoistSharedConstants(Pass):
    """If(c){f(w)}{g(w)} → w outside, once, where both branches hold a weight of the same bits.

    Small tensors stay where they are: shape inference does not look for axes and bounds outside a
    subgraph. So do weights that a body gives out as they are, and those in functions, which have
    no place for them.

    Attributes:
        min_bytes: Smaller tensors stay.
    """

    exactness = Exactness.BITWISE
    min_bytes: int = 1024

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Move what occurs more than once below the main graph to the main graph."""
        if model.ir_version < _IR_OF_FREE_WEIGHTS:
            return
        held = [value for graph in model.graph.subgraphs() for value in self._movable(graph)]
        kinds = Counter(_kind(value) for value in held)
        groups: dict[Hashable, list[ir.Value]] = {}
        for value in held:
            if kinds[_kind(value)] > 1 and value.const_value is not None:
                key = (shallow_key(value.const_value), digest(value.const_value))
                groups.setdefault(key, []).append(value)
        editor = Editor(model)
        for group in groups.values():
            if len(group) > 1:
                outside = _hoist(group[0], model.graph, editor)
                yield Note.applied(outside, f"serves {len(group)} subgraphs from outside")
                for value in group[1:]:
                    value.replace_all_uses_with(outside)
                    edit.drop_if_unread(value)

    def _movable(self, graph: ir.Graph) -> Iterator[ir.Value]:
        for value in graph.initializers.values():
            fixed = value.is_graph_input() or value.is_graph_output() or value.const_value is None
            if not fixed and value.const_value.nbytes >= self.min_bytes:  # type: ignore[union-attr]
                yield value


def _hoist(value: ir.Value, graph: ir.Graph, editor: Editor) -> ir.Value:
    """The same weight in an outer graph, under a name that nothing else has."""
    tensor, inner = value.const_value, value.graph
    if tensor is None or inner is None or value.name is None:
        raise ValueError(f"{value.name} is no weight of a subgraph")
    name = editor.fresh(f"{value.name}/shared")
    copy = as_tensor(tensor.numpy(), name, tensor.dtype)
    outside = ir.Value(name=name, shape=value.shape, type=value.type, const_value=copy)
    graph.register_initializer(outside)
    value.replace_all_uses_with(outside)
    del inner.initializers[value.name]
    return outside


def _kind(value: ir.Value) -> Hashable:
    tensor = value.const_value
    return None if tensor is None else (tensor.dtype, tuple(tensor.shape.numpy()))
