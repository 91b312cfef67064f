"""The float model on the bench: where codes would add noise, and how that noise is added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.calibrate import Range
from onnxopt.graph import label
from onnxopt.targets import Int8Scheme
from onnxopt_passes.quantize._noise import Noise
from onnxopt_passes.quantize._numbers import (
    Encoding,
    activation_encoding,
    quantize_weight,
    weight_scales,
)
from onnxopt_passes.quantize._qdq import QdqWriter
from onnxopt_passes.quantize._rewriting import float_constant, integer_readers, readable_bounds
from onnxopt_passes.quantize._units import Unit, output_axis, owners_of, values_of


@dataclass(frozen=True)
class Source:
    """A source of noise: a tensor by its name, or the weight of a node by the node's name."""

    kind: Literal["tensor", "weight"]
    name: str


@dataclass(frozen=True, eq=False)
class Bench:
    """A float model, and how its sources of noise would be put into codes.

    Attributes:
        model: The float model; it is not changed.
        units: Its units, in graph order.
        ranges: Of its tensors.
        scheme: Which codes there are.
    """

    model: ir.Model
    units: Sequence[Unit]
    ranges: Mapping[str, Range]
    scheme: Int8Scheme

    def sources(self) -> list[Source]:
        """What adds noise of its own, in graph order."""
        owners = owners_of(self.units)
        found: dict[Source, None] = {}
        for unit in self.units:
            for value in unit.inputs:
                if not _repeats(value, owners):
                    found[Source("tensor", value.name or "")] = None
            if unit.weight is not None:
                found[Source("weight", label(unit.node))] = None
            if not unit.repeats_codes and not unit.kernel.may_leave_float:
                found.update((Source("tensor", out.name or ""), None) for out in unit.outputs)
        return [s for s in found if s.kind == "weight" or s.name in self.ranges]

    def gated(self, model: ir.Model, sources: Sequence[Source]) -> ir.Model:
        """A copy of the model, or of the rest of it, in which the noise of sources has gates.

        The n-th source has a further input ``gate(n)``, a float32 []: 0 lets no noise through, 1
        all of it, so that ``x`` becomes ``x + gate (codes(x) - x)``.
        """
        clone = model.clone()
        values = {v.name: v for v in clone.graph.inputs}
        values |= {out.name: out for node in clone.graph for out in node.outputs}
        nodes = {label(node): node for node in clone.graph}
        writer = _GateWriter(clone)
        for number, source in enumerate(sources):
            opening = writer.gate(gate(number))
            if source.kind == "weight":
                weight = float_constant(nodes[source.name], 1)
                rough = self._rough(nodes[source.name], weight)
                writer.add_to_weight(nodes[source.name], rough - weight, opening)
            else:
                value = values[source.name]
                writer.add_to_tensor(value, self._encoding(source.name), opening)
        return clone

    def repeated(self, noise: Noise) -> Noise:
        """The same with tensors that repeat another's codes as noisy as that one."""
        owners = owners_of(self.units)
        tensors = dict(noise.tensors)
        for value in values_of(self.units):
            if _repeats(value, owners):
                unit = owners[_producer(value)]
                tensors[value.name or ""] = max(
                    (tensors.get(v.name or "", 0.0) for v in unit.inputs), default=0.0
                )
        return Noise(tensors, noise.weights)

    @cached_property
    def _bounds(self) -> dict[str, Range]:
        found = readable_bounds(self.units, integer_readers(self.units))
        return {value.name or "": bound for value, bound in found.items()}

    def _encoding(self, name: str) -> Encoding:
        found, bound = self.ranges[name], self._bounds.get(name)
        if bound is not None:
            found = Range(max(found.low, bound.low), min(found.high, bound.high))
        return activation_encoding(found, self.scheme)

    def _rough(self, node: ir.Node, weight: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """What the codes of a node's weight mean."""
        axis = output_axis(node) % weight.ndim
        shape = [1] * weight.ndim
        shape[axis] = -1
        scales = weight_scales(weight, axis, self.scheme)
        codes = quantize_weight(weight, axis, scales, self.scheme)
        rough: npt.NDArray[np.floating] = codes * scales.reshape(shape)
        return rough


def gate(number: int) -> str:
    """The name of an input that lets the noise of a source through."""
    return f"onnxopt/gate/{number}"


class _GateWriter:
    """Adds noise with gates to one model."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._qdq = QdqWriter(model)

    def gate(self, name: str) -> ir.Value:
        """A new input."""
        found = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(()))
        self._graph.inputs.append(found)
        return found

    def add_to_tensor(self, value: ir.Value, encoding: Encoding, opening: ir.Value) -> None:
        """Let every reader of a tensor, graph outputs included, read it with its noise."""
        uses = tuple(value.uses())
        origin = value.producer() or uses[0].node
        made = self._qdq.quantize(value, encoding, origin)
        name = value.name or ""
        noise = ir.Node("", "Sub", [made.real, value], num_outputs=1)
        passed = ir.Node("", "Mul", [noise.outputs[0], opening], num_outputs=1)
        noisy = ir.Node("", "Add", [value, passed.outputs[0]], num_outputs=1)
        after = made.real.producer()
        if after is None:
            raise ValueError(f"{name} was not put into codes")
        self._graph.insert_after(after, [noise, passed, noisy])
        _name([noise, passed, noisy], f"{name}/gate")
        result = noisy.outputs[0]
        result.type, result.shape = value.type, value.shape
        for use in uses:
            use.node.replace_input_with(use.idx, result)
        if value.is_graph_output():
            value.replace_all_uses_with(result, replace_graph_outputs=True)
            _read_again(value, (noise, noisy, made.codes.producer()))
            value.name, result.name = f"{name}/raw", name

    def add_to_weight(
        self, node: ir.Node, delta: npt.NDArray[np.floating], opening: ir.Value
    ) -> None:
        """Let a node read its weight with its noise."""
        name = f"{label(node)}/weight"
        noise = self._qdq.editor.constant(node, f"{name}/noise", delta.astype(np.float32))
        passed = ir.Node("", "Mul", [noise, opening], num_outputs=1)
        noisy = ir.Node("", "Add", [node.inputs[1], passed.outputs[0]], num_outputs=1)
        self._graph.insert_before(node, [passed, noisy])
        _name([passed, noisy], f"{name}/gate")
        node.replace_input_with(1, noisy.outputs[0])


def _name(nodes: Sequence[ir.Node], prefix: str) -> None:
    for number, node in enumerate(nodes):
        node.name = node.outputs[0].name = f"{prefix}/{number}"


def _read_again(value: ir.Value, nodes: Sequence[ir.Node | None]) -> None:
    """Let the nodes that make the noise read the tensor itself."""
    for node in nodes:
        if node is not None:
            node.replace_input_with(1 if node.op_type == "Sub" else 0, value)


def _producer(value: ir.Value) -> ir.Node:
    producer = value.producer()
    if producer is None:
        raise ValueError(f"{value.name} has no producer")
    return producer


def _repeats(value: ir.Value, owners: Mapping[ir.Node, Unit]) -> bool:
    producer = value.producer()
    owner = owners.get(producer) if producer is not None else None
    return owner is not None and owner.repeats_codes
