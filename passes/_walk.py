"""Runs a model stretch by stretch on a few samples, each node once, while its weights change.

A pass that repairs one layer after the other needs what each layer reads after all layers before it
have been repaired. Running the whole model for every layer would square the cost; here only the
tensors that later nodes read are kept, those in codes as codes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt.calibrate import tensor_sizes
from onnxopt.data import Sample, in_memory
from onnxopt.errors import DataError, ModelError
from onnxopt.graph import is_constant, is_op, subgraphs
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.transform import Context

Kept = dict[str, Any]
_RANDOM = ("Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike")
_RANDOM_SOURCES = ("RandomNormal", "RandomUniform")
_MOST_ELEMENTS = 1 << 27  # of all samples' tensors, were they kept at once; a tenth of it is


def few_samples(model: ir.Model, context: Context, most: int) -> list[Sample]:
    """As many calibration samples as memory allows for a walk.

    Args:
        model: What is walked through.
        context: For the data.
        most: How many at most.

    Raises:
        DataError: There is no data.
    """
    data = context.calibration
    if data is None or not len(data):
        raise DataError("there is no calibration data", todo="give some with --data")
    first = list(data.take([0]))
    names = [out.name for node in model.graph for out in node.outputs if out.name]
    sizes = tensor_sizes(model, names, in_memory([dict(first[0].feeds)]))
    tenth = max(sum(sizes.values()) // 10, 1)
    count = min(most, len(data), max(_MOST_ELEMENTS // tenth, 4))
    return list(data.take(range(count)))


def reads(node: ir.Node) -> list[ir.Value]:
    """What a node reads, by itself and inside its subgraphs."""
    found = dict.fromkeys(value for value in node.inputs if value is not None)
    for graph in subgraphs(node):
        for inner in ir.traversal.RecursiveGraphIterator(graph):
            found.update((v, None) for v in inner.inputs if v is not None and v.graph is node.graph)
    return list(found)


class Walk:
    """A model that is run up to one tensor after the other.

    Args:
        model: The model; stretches are cut from it as it stands when they are run.
        samples: What to run it on; all tensors that cross a stretch's end are kept for each.
        config: How to run it.
        held: Tensors that are asked for out of order: kept until they are.
    """

    def __init__(
        self,
        model: ir.Model,
        samples: Sequence[Sample],
        config: SessionConfig,
        held: Collection[str] = (),
    ) -> None:
        self._model, self._config = model, config
        self._nodes = list(model.graph)
        self._places = {node: at for at, node in enumerate(self._nodes)}
        self._free = self._find_free()
        self._last = self._last_reads()
        self._held = set(held)
        self._values = {out.name: out for node in self._nodes for out in node.outputs if out.name}
        self._kept: list[Kept] = [dict(sample.feeds) for sample in samples]
        self._at = 0

    def until(self, names: Sequence[str]) -> list[Mapping[str, Any]]:
        """The values of some tensors on each sample.

        Tensors have to be asked for in graph order, and all of one node's at once.

        Raises:
            ModelError: Something that is no tensor would have to be kept.
        """
        computed = [name for name in names if name in self._values]
        end = max((self._made_at(self._values[name]) for name in computed), default=-1) + 1
        end = max(end, self._at)
        stretch = self._nodes[self._at : end]
        wanted = [name for name in computed if name not in self._kept[0]]
        crossing = self._crossing(stretch, end)
        lost = [name for name in wanted if self._is_lost(self._values[name])]
        if lost:
            raise ModelError(f"{lost[0]} has been passed", "tensors in graph order")
        outputs = list(dict.fromkeys([*wanted, *crossing]))
        found = self._run(stretch, outputs) if outputs else [{} for _ in self._kept]
        asked: list[Mapping[str, Any]] = []
        for kept, made in zip(self._kept, found, strict=True):
            asked.append({name: made.get(name, kept.get(name)) for name in names})
            kept.update((name, made[name]) for name in crossing)
            for name in [name for name in kept if not self._is_needed(name, end, names)]:
                del kept[name]
        self._held.difference_update(names)
        self._at = end
        return asked

    def _is_needed(self, name: str, end: int, asked: Sequence[str]) -> bool:
        """Whether a tensor is read from a place on, or will be asked for."""
        return self._last.get(name, -1) >= end or (name in self._held and name not in asked)

    def _is_lost(self, value: ir.Value) -> bool:
        """Whether a value was made before and not kept."""
        producer = value.producer()
        return producer not in self._free and self._made_at(value) < self._at

    def _run(self, stretch: Sequence[ir.Node], outputs: Sequence[str]) -> list[Kept]:
        part = self._part(stretch, outputs)
        names = [value.name or "" for value in part.graph.inputs]
        with open_session(part, self._config) as session:
            return [
                session.run({name: kept[name] for name in names}, outputs) for kept in self._kept
            ]

    def _part(self, stretch: Sequence[ir.Node], outputs: Sequence[str]) -> ir.Model:
        """The stretch as a model, with copies of the free nodes it reads from."""
        wanted = [self._values[name] for name in outputs]
        nodes = self._with_free(stretch, wanted)
        made: dict[ir.Value, ir.Value] = {}
        inputs: list[ir.Value] = []
        weights: list[ir.Value] = []
        copies = []
        own = {out for node in nodes for out in node.outputs}
        for node in nodes:
            for value in reads(node):
                if value in made or value in own:
                    continue
                copy = self._outer(value)
                made[value] = copy
                (weights if copy.const_value is not None else inputs).append(copy)
            copies.append(_copy(node, made))
        graph = ir.Graph(
            inputs,
            [made[value] for value in wanted],
            nodes=copies,
            initializers=weights,
            opset_imports=self._model.graph.opset_imports,
            name=self._model.graph.name or "part",
        )
        return ir.Model(
            graph,
            ir_version=self._model.ir_version,
            functions=list(self._model.functions.values()),
        )

    def _outer(self, value: ir.Value) -> ir.Value:
        """A weight, or what was kept as an input of the stretch."""
        is_fed = (value.name or "") in self._kept[0]
        if value.is_initializer() and not is_fed:
            return ir.Value(
                name=value.name, shape=value.shape, type=value.type, const_value=value.const_value
            )
        array = self._kept[0].get(value.name or "")
        if not isinstance(array, np.ndarray):
            raise ModelError(f"{value.name} is no tensor", "a model that passes tensors on")
        dims = self._lengths(value.name or "") if array.ndim == 1 else [None] * array.ndim
        kind = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        return ir.Value(name=value.name, shape=ir.Shape(dims), type=kind)

    def _lengths(self, name: str) -> list[int | None]:
        """The length of a vector, where it is that on all samples: shapes are inferred from it."""
        found = {len(kept[name]) for kept in self._kept}
        return [found.pop() if len(found) == 1 else None]

    def _with_free(self, stretch: Sequence[ir.Node], wanted: Sequence[ir.Value]) -> list[ir.Node]:
        """The stretch's nodes and the free ones they read from, in graph order.

        A node that was not there at first has come with a new constant for the node that reads it.
        """
        found = {node: float(self._places[node]) for node in stretch if node not in self._free}
        pending = [(v, place) for node, place in found.items() for v in reads(node)]
        pending += [(value, float(len(self._nodes))) for value in wanted]
        while pending:
            value, before = pending.pop()
            producer = value.producer()
            if producer is None or producer in found:
                continue
            if producer in self._free or producer not in self._places:
                found[producer] = self._places.get(producer, before - 0.5)
                pending += [(v, found[producer]) for v in reads(producer)]
        return sorted(found, key=found.__getitem__)

    def _crossing(self, stretch: Sequence[ir.Node], end: int) -> list[str]:
        """What the stretch makes and later nodes read."""
        return [
            out.name
            for node in stretch
            if node not in self._free
            for out in node.outputs
            if out.name and self._is_needed(out.name, end, ())
        ]

    def _find_free(self) -> set[ir.Node]:
        """Nodes that are run again rather than kept: of constants only, and out of codes."""
        fixed: set[ir.Node | None] = set()
        free: set[ir.Node] = set()
        for node in self._nodes:
            known = all(v.producer() in fixed or is_constant(v) for v in reads(node))
            if known and not is_op(node, *_RANDOM, *_RANDOM_SOURCES):
                fixed.add(node)
                free.add(node)
            elif is_op(node, "DequantizeLinear"):
                free.add(node)
        return free

    def _last_reads(self) -> dict[str, int]:
        """Where each tensor is read last, through free nodes too."""
        last: dict[ir.Value, int] = {}
        for at in range(len(self._nodes) - 1, -1, -1):
            node = self._nodes[at]
            ends = [last.get(out, -1) for out in node.outputs] if node in self._free else [at]
            for value in reads(node):
                last[value] = max(last.get(value, -1), *ends, at)
        return {value.name or "": at for value, at in last.items()}

    def _made_at(self, value: ir.Value) -> int:
        """The place of the last node that has to run for a value, free nodes apart."""
        producer = value.producer()
        if producer is None:
            return -1
        if producer in self._free:
            return max((self._made_at(v) for v in reads(producer)), default=-1)
        return self._places[producer]


def _copy(node: ir.Node, made: dict[ir.Value, ir.Value]) -> ir.Node:
    """A node for the stretch; subgraphs are shared, they see outer values by name."""
    inputs = [None if value is None else made[value] for value in node.inputs]
    copy = ir.Node(
        node.domain,
        node.op_type,
        inputs,
        node.attributes.values(),
        overload=node.overload,
        num_outputs=len(node.outputs),
        name=node.name,
    )
    for old, new in zip(node.outputs, copy.outputs, strict=True):
        new.name, new.type, new.shape = old.name, old.type, old.shape
        made[old] = new
    return copy
