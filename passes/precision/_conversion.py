"""Lets chosen nodes compute in 16 bits: constants converted, Casts where types meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxopt.graph import Editor, constant, drop_if_unread, is_constant, label
from onnxopt_passes.precision._half import Half
from onnxopt_passes.precision._slots import Slots


class Converter:
    """Rewrites the main graph of one model."""

    def __init__(self, model: ir.Model, half: Half, chosen: Mapping[ir.Node, Slots]) -> None:
        self._editor = Editor(model)
        self._graph = model.graph
        self._half = half
        self._chosen = chosen
        self._constants: dict[ir.Value, ir.Value] = {}
        self.casts = 0

    def convert(self, outer: frozenset[ir.Value]) -> None:
        """Do it.

        Args:
            outer: Inputs and outputs of the graph whose own type changes.
        """
        for node, slots in self._chosen.items():
            self._convert_constants(node, slots)
        made = [node.outputs[at] for node, slots in self._chosen.items() for at in slots.outputs]
        activations = [value for value in self._graph.inputs if value not in made]
        activations += [value for node in self._graph for value in node.outputs]
        in_half = {*made, *(v for v in outer if v.is_graph_input())}
        for value in activations:
            self._settle(value, is_half=value in in_half, is_outer=value in outer)
        for node in self._chosen:
            if node.op_type == "Cast":
                node.attributes["to"] = ir.AttrInt64("to", self._half.dtype)

    def _convert_constants(self, node: ir.Node, slots: Slots) -> None:
        for at in slots.inputs:
            value = node.inputs[at]
            if value is None or not is_constant(value):
                continue
            if value not in self._constants:
                self._constants[value] = self._converted(node, value)
            node.replace_input_with(at, self._constants[value])
            self._drop(value)

    def _converted(self, node: ir.Node, value: ir.Value) -> ir.Value:
        array = constant(value)
        if array is None:
            raise ValueError(f"{value.name} is no constant")
        name = f"{value.name or label(node)}/{self._half.suffix}"
        return self._editor.constant(_first_reader(value, node), name, self._half.cast(array))

    def _drop(self, value: ir.Value) -> None:
        producer = value.producer()
        if value.uses() or value.is_graph_output():
            return
        if producer is not None:
            self._editor.sweep(producer)
        else:
            drop_if_unread(value)

    def _settle(self, value: ir.Value, *, is_half: bool, is_outer: bool) -> None:
        """Give a value its type, and the readers that want the other one a Cast of it."""
        if is_half:
            value.type = ir.TensorType(self._half.dtype)
        elif value.dtype != ir.DataType.FLOAT and value.dtype is not None:
            return
        if value.is_graph_output() and is_half != is_outer:
            self._cast_output(value, is_half=is_half)
            return
        wrong = [use for use in value.uses() if self._wants_half(use) != is_half]
        if not wrong:
            return
        self._serve(value, wrong, is_half=is_half)

    def _wants_half(self, use: tuple[ir.Node, int]) -> bool:
        slots = self._chosen.get(use[0])
        return slots is not None and use[1] in slots.inputs

    def _serve(
        self, value: ir.Value, wrong: Sequence[tuple[ir.Node, int]], *, is_half: bool
    ) -> None:
        cast = self._cast(value, is_half=is_half)
        for reader, at in wrong:
            reader.replace_input_with(at, cast)

    def _cast(self, value: ir.Value, *, is_half: bool) -> ir.Value:
        """A Cast of a value right after it is made."""
        dtype = ir.DataType.FLOAT if is_half else self._half.dtype
        name = self._editor.fresh(f"{value.name}/{'float' if is_half else self._half.suffix}")
        node = ir.node("Cast", [value], {"to": int(dtype)}, num_outputs=1, name=name)
        out = node.outputs[0]
        out.name, out.type, out.shape = name, ir.TensorType(dtype), value.shape
        producer = value.producer()
        if producer is not None:
            self._graph.insert_after(producer, node)
        elif len(self._graph):
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.append(node)
        self.casts += 1
        return out

    def _cast_output(self, value: ir.Value, *, is_half: bool) -> None:
        """Let a Cast make a graph output, under its name."""
        name = value.name
        value.name = self._editor.fresh(f"{name}/{self._half.suffix if is_half else 'float'}")
        cast = self._cast(value, is_half=is_half)
        wrong = [use for use in value.uses() if use.node is not cast.producer()]
        for use in wrong:
            if self._wants_half(use) != is_half:
                use.node.replace_input_with(use.idx, cast)
        for at, output in enumerate(self._graph.outputs):
            if output is value:
                self._graph.outputs[at] = cast
        cast.name = name


def _first_reader(value: ir.Value, node: ir.Node) -> ir.Node:
    """Where a constant of the main graph has to be ready: after its own node, if it has one."""
    producer = value.producer()
    return node if producer is None or producer.graph is not node.graph else producer
