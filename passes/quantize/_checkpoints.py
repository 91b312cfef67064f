"""The rest of a model from some place on, and what flows into it there.

To see what a change in the middle of a model does to its outputs, only what comes after it has to
run: the tensors that cross a checkpoint are run for once and kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxopt.calibrate import tensor_sizes
from onnxopt.calibrate.tapping import with_outputs
from onnxopt.data import Dataset, Sample, in_memory
from onnxopt.graph import all_nodes
from onnxopt.runtime import SessionConfig, open_session

_CHECKPOINTS = 8
_MOST_ELEMENTS = 1 << 26  # kept over all checkpoints and samples: 256 MB of float32


@dataclass(frozen=True, eq=False)
class Rest:
    """A model from one of its nodes on.

    Attributes:
        start: How many nodes of the whole model come before it.
        model: The rest as a model of its own.
        runs: For each sample its feeds and what it gives back.
    """

    start: int
    model: ir.Model
    runs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]


def rests_of(model: ir.Model, samples: Sequence[Sample], config: SessionConfig) -> tuple[Rest, ...]:
    """The whole model, and what is left of it from a few places on where little crosses.

    Args:
        model: The model; it is not changed.
        samples: What to run it on.
        config: How to run it.
    """
    with open_session(model, config) as session:
        whole = [(sample.feeds, session.run(sample.feeds)) for sample in samples]
    found = [Rest(0, model, whole)]
    data = in_memory([dict(sample.feeds) for sample in samples[:1]])
    for start, crossing in _places(model, data, len(samples)):
        with open_session(with_outputs(model, crossing), config) as session:
            kept = [session.run(feeds) for feeds, _ in whole]
        rest = _rest(model, start, kept[0])
        if rest is None:
            continue
        names = [out.name or "" for out in rest.graph.outputs]
        needed = {value.name for value in rest.graph.inputs}
        runs = []
        for (feeds, outputs), inner in zip(whole, kept, strict=True):
            given = {name: v for name, v in {**feeds, **inner}.items() if name in needed}
            runs.append((given, {name: outputs[name] for name in names}))
        found.append(Rest(start, rest, runs))
    return tuple(found)


def _places(model: ir.Model, data: Dataset, samples: int) -> list[tuple[int, tuple[str, ...]]]:
    """Where to cut: in each stretch of nodes, the place that least crosses; with what crosses."""
    nodes = list(model.graph)
    if any(node.graph is not model.graph for node in all_nodes(model)):
        return []  # what subgraphs read from around them crosses unseen
    crossing = _crossings(nodes)
    names = sorted({name for names in crossing for name in names})
    sizes = tensor_sizes(model, names, data)
    weights = [sum(sizes.get(name, 0) for name in names) for names in crossing]
    width = max(len(nodes) // _CHECKPOINTS, 1)
    found, room = [], _MOST_ELEMENTS // samples
    for first in range(width // 2, len(nodes), width):
        place = min(range(first, min(first + width, len(nodes))), key=weights.__getitem__)
        if crossing[place] and weights[place] <= room:
            found.append((place, crossing[place]))
            room -= weights[place]
    return found


def _crossings(nodes: Sequence[ir.Node]) -> list[tuple[str, ...]]:
    """The tensors made before each node and read by it or later ones."""
    place = {node: at for at, node in enumerate(nodes)}
    last: dict[str, int] = {}
    for node in nodes:
        for out in node.outputs:
            reads = [place[use.node] for use in out.uses()]
            if reads and out.name:
                last[out.name] = max(reads)
    found, alive = [], dict[str, int]()
    for at, node in enumerate(nodes):
        alive = {name: end for name, end in alive.items() if end >= at}
        found.append(tuple(alive))
        alive.update((out.name, last[out.name]) for out in node.outputs if out.name in last)
    return found


def _rest(model: ir.Model, start: int, kept: Mapping[str, Any]) -> ir.Model | None:
    """The nodes from ``start`` on, with what is kept as inputs; None where that is no tensor."""
    clone = model.clone()
    graph = clone.graph
    head = list(graph)[:start]
    values = {out.name: out for node in head for out in node.outputs}
    for name, array in kept.items():
        if not hasattr(array, "dtype"):
            return None
        old = values[name]
        fresh = ir.Value(
            name=name, shape=old.shape, type=ir.TensorType(ir.DataType.from_numpy(array.dtype))
        )
        old.replace_all_uses_with(fresh)
        old.name = None
        graph.inputs.append(fresh)
    graph.outputs[:] = [out for out in graph.outputs if out.producer() not in set(head)]
    graph.remove(reversed(head))
    read = {value for value in graph.inputs if value.uses()}
    graph.inputs[:] = [value for value in graph.inputs if value in read]
    return clone if len(graph.outputs) else None
