"""A node as the builder of its torch function sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch

from onnxopt.distill.bridge.program import Program

Value = Any
"""A tensor, a list of values (a sequence), or None (an absent input, an empty optional)."""

Function = Callable[..., Value]
"""Maps a node's input values to its output, or to a tuple of its outputs."""

Reader = Callable[[Sequence[Value]], Any]
"""Reads an argument that may be fixed from a node's input values."""


class UnsupportedError(ValueError):
    """A node uses an op in a way that the table does not know; the text says which."""


class Body:
    """A graph that a node holds, with what it reads from outside."""

    def __init__(self, program: Program, captured: slice) -> None:
        self._program = program
        self._captured = captured

    def run(self, values: Sequence[Value], *arguments: Value) -> list[Value]:
        """The body's outputs.

        Args:
            values: All input values of the node, captured ones included.
            arguments: The body's formal inputs.
        """
        return self._program.call([*arguments, *values[self._captured]])


class Site:
    """What is known of a node before it runs.

    Attributes:
        node: The node itself.
        opset: The version of its domain where it stands.
        inputs: Number of input values without those captured by bodies.
        bodies: The graphs it holds, by attribute.
    """

    def __init__(
        self,
        node: ir.Node,
        opset: int,
        attributes: Mapping[str, ir.Attr],
        fixed: Sequence[torch.Tensor | None],
        bodies: Mapping[str, Body],
        weights: Sequence[bool] = (),
    ) -> None:
        self.node = node
        self.opset = opset
        self.inputs = len(node.inputs)
        self.bodies = bodies
        self._attributes = attributes
        self._fixed = fixed
        self._weights = weights

    def is_weight(self, index: int) -> bool:
        """Whether an input is a weight of the bridge."""
        return index < len(self._weights) and self._weights[index]

    def has(self, index: int) -> bool:
        """Whether the node has this input."""
        return index < self.inputs and self.node.inputs[index] is not None

    def is_wanted(self, index: int) -> bool:
        """Whether the node has this output and anybody reads it."""
        if index >= len(self.node.outputs):
            return False
        output = self.node.outputs[index]
        return bool(output.name) and (bool(output.uses()) or output.is_graph_output())

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute's plain value."""
        found = self._attributes.get(name)
        return default if found is None else found.value

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.attr(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def fixed(self, index: int) -> torch.Tensor | None:
        """The tensor an input always holds, where it is not a weight."""
        return self._fixed[index] if self.has(index) else None

    def ints(self, index: int, name: str = "") -> Reader:
        """Integers from an attribute, else from an input; None where both are absent."""
        if name and name in self._attributes:
            given = _ints(self._attributes[name].value)
            return lambda values: given
        if not self.has(index):
            return lambda values: None
        tensor = self.fixed(index)
        if tensor is not None:
            known = _ints(tensor.tolist())
            return lambda values: known
        return lambda values: _ints(values[index].tolist())

    def number(self, index: int, name: str = "", default: Any = None) -> Reader:
        """One plain number from an attribute, else from an input, else the default."""
        if name and name in self._attributes:
            given = self._attributes[name].value
            return lambda values: given
        if not self.has(index):
            return lambda values: default
        tensor = self.fixed(index)
        if tensor is not None:
            known = tensor.item()
            return lambda values: known
        return lambda values: values[index].item()


def _ints(value: Any) -> tuple[int, ...]:
    return tuple(int(item) for item in value) if isinstance(value, list | tuple) else (int(value),)
