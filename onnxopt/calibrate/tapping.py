"""Models that show their inner tensors: clones with other graph outputs, weights shared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import all_graphs

NOT_FLOAT = "it holds no floating-point numbers"
"""The reason for skipping a tensor of another kind."""


@dataclass(frozen=True)
class TapPlan:
    """Which tensors come from where.

    Attributes:
        fed: Graph inputs: known without running anything.
        computed: Outputs of nodes of the main graph, in graph order.
        skipped: The rest, with the reason.
    """

    fed: tuple[str, ...]
    computed: tuple[str, ...]
    skipped: Mapping[str, str]


def plan_taps(model: ir.Model, names: Iterable[str]) -> TapPlan:
    """Sort tensor names by how their values can be had."""
    wanted = set(names)
    graph = model.graph
    fed = tuple(v.name or "" for v in graph.inputs if v.name in wanted)
    values = [out for node in graph for out in node.outputs if out.name in wanted]
    computed = tuple(v.name or "" for v in values if _may_be_float(v))
    found = {*fed, *computed}
    skipped = {v.name or "": NOT_FLOAT for v in values if v.name not in found}
    inner = _inner_names(model) if len(found) + len(skipped) < len(wanted) else frozenset[str]()
    for name in sorted(wanted - found - skipped.keys()):
        skipped[name] = _why_not(graph, name, inner)
    return TapPlan(fed, computed, dict(sorted(skipped.items())))


def with_outputs(model: ir.Model, names: Sequence[str], held: Sequence[str] = ()) -> ir.Model:
    """A clone whose graph outputs are these tensors of its main graph, then the held ones' sizes.

    A tensor that is held is not fused away, as if it were an output, but not given out: so that
    the others have the same bits as if all were outputs.
    """
    clone = model.clone()
    values = _values(clone)
    clone.graph.outputs[:] = [values[name] for name in names]
    _add_sizes(clone, [values[name] for name in held])
    return clone


def with_sizes(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A clone whose outputs are the element counts of these tensors, int64 [], in order."""
    return with_outputs(model, (), names)


def _add_sizes(model: ir.Model, values: Sequence[ir.Value]) -> None:
    for value in values:
        node = ir.Node("", "Size", [value], num_outputs=1)
        node.outputs[0].name = f"{value.name}/size"
        node.outputs[0].type = ir.TensorType(ir.DataType.INT64)
        node.outputs[0].shape = ir.Shape(())
        model.graph.append(node)
        model.graph.outputs.append(node.outputs[0])


def declared_sizes(model: ir.Model, names: Sequence[str]) -> tuple[int, ...] | None:
    """Element counts as far as the model declares them; None where any is open."""
    values = _values(model)
    shapes = [values[name].shape for name in names]
    known = [shape for shape in shapes if shape is not None and shape.is_static()]
    if len(known) < len(shapes):
        return None
    return tuple(math.prod(dim for dim in shape if isinstance(dim, int)) for shape in known)


def group_by_size(
    names: Sequence[str], sizes: Sequence[int], limit: int
) -> tuple[tuple[str, ...], ...]:
    """Cut names into runs of at most ``limit`` elements together (a larger one stands alone)."""
    groups: list[list[str]] = []
    room = 0
    for name, size in zip(names, sizes, strict=True):
        if not groups or size > room:
            groups.append([])
            room = limit
        groups[-1].append(name)
        room -= size
    return tuple(map(tuple, groups))


def _may_be_float(value: ir.Value) -> bool:
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        return False  # a sequence of float tensors has their dtype
    return value.dtype is None or value.dtype.is_floating_point()


def _values(model: ir.Model) -> dict[str, ir.Value]:
    return {out.name: out for node in model.graph for out in node.outputs if out.name}


def _inner_names(model: ir.Model) -> frozenset[str]:
    graphs = [graph for graph in all_graphs(model) if graph is not model.graph]
    nodes = (node for graph in graphs for node in graph)
    return frozenset(out.name for node in nodes for out in node.outputs if out.name)


def _why_not(graph: ir.Graph, name: str, inner: frozenset[str]) -> str:
    if name in graph.initializers:
        return "it is a weight"
    if name in inner:
        return "it is inside a subgraph or function"
    return "the model has no such tensor"
