"""Where a network is narrowest: tensors that everything after them is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import is_constant

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Attention")
_JOINING = ("Add", "Sum", "Concat", "LayerNormalization", "SkipLayerNormalization")


@dataclass(frozen=True)
class Cut:
    """A tensor between two parts of a network.

    Attributes:
        name: Of the tensor.
        depth: Share of the layers with weights that lie before it.
    """

    name: str
    depth: float


def cuts(model: ir.Model) -> tuple[Cut, ...]:
    """Boundaries of blocks, in order.

    A block ends where one tensor of the main graph alone is still to be read: between residual
    blocks. Where a model has no such place (a mask goes to every layer), blocks end at sums,
    joins and norms of two computed tensors.
    """
    narrow = _last_ones(_narrow(model))
    inner = [cut for cut in narrow if 0 < cut.depth < 1]
    return narrow if len(inner) > 1 else _last_ones(_joins(model))


def _last_ones(found: Iterable[Cut]) -> tuple[Cut, ...]:
    """The last cut of each depth: what lies between has no weights."""
    return tuple({cut.depth: cut for cut in found}.values())


def _narrow(model: ir.Model) -> Iterator[Cut]:
    depths = _depths(model)
    last = {v: at for at, node in enumerate(model.graph) for v in _read(node)}
    moving = {v for v in model.graph.inputs if _counts(v)}
    live = {v for v in moving if v in last}
    for at, node in enumerate(model.graph):
        if any(v in moving for v in _read(node)):
            made = [v for v in node.outputs if _counts(v)]
            moving.update(made)
            live.update(v for v in made if last.get(v, -1) > at)
        live = {v for v in live if last[v] > at}
        if len(live) == 1:
            (only,) = live
            if only in node.outputs and only.name:
                yield Cut(only.name, depths[at])


def _joins(model: ir.Model) -> Iterator[Cut]:
    depths = _depths(model)
    for at, node in enumerate(model.graph):
        moving = [v for v in node.inputs if v is not None and not is_constant(v)]
        joined = node.op_type in _JOINING and (len(moving) > 1 or "Norm" in node.op_type)
        name = node.outputs[0].name
        if joined and name and _counts(node.outputs[0]):
            yield Cut(name, depths[at])


def _depths(model: ir.Model) -> list[float]:
    """For each node the share of weighted layers up to it."""
    counts, seen = [], 0
    for node in model.graph:
        weighted = node.op_type in _WEIGHTED and any(is_constant(v) for v in node.inputs[1:])
        seen += weighted
        counts.append(seen)
    return [count / max(seen, 1) for count in counts]


def _read(node: ir.Node) -> Iterator[ir.Value]:
    """What a node and its subgraphs read."""
    yield from (v for v in node.inputs if v is not None)
    for attr in node.attributes.values():
        if attr.is_ref() or attr.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            continue
        graphs = [attr.as_graph()] if attr.type == ir.AttributeType.GRAPH else attr.as_graphs()
        for graph in graphs:
            for inner in graph:
                yield from _read(inner)


def _counts(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype.is_floating_point()
