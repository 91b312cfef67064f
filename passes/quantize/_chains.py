"""Tensors whose channels can be scaled together without changing what a model computes.

A chain is a set of tensors joined by nodes ``f`` with ``f(s x) = s f(x)`` for positive ``s`` a
channel. Where all of it is made by layers that can divide their outputs and read by layers that can
multiply their inputs, any ``s`` will do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import Editor, constant, constant_tensor, is_constant, is_op, label, scalar
from onnxopt_passes.fuse._affine import Affine
from onnxopt_passes.fuse._convolution import Convolution, Folded, read_convolution
from onnxopt_passes.fuse._linear import Linear, Refit, read_linear
from onnxopt_passes.fuse._shape import Layouts

Vector = npt.NDArray[np.float64]
Layer = Convolution | Linear
_POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")
_UNARY = (*_POOLS, "Identity", "LeakyRelu", "PRelu", "Relu")


@dataclass(eq=False)
class Chain:
    """Tensors that share one scale a channel.

    Attributes:
        values: The tensors.
        makers: The layers that make them.
        readers: The layers that read them.
        reason: Why they cannot be scaled; empty where they can.
    """

    values: list[ir.Value] = field(default_factory=list)
    makers: list[Layer] = field(default_factory=list)
    readers: list[Layer] = field(default_factory=list)
    reason: str = ""

    @property
    def axis(self) -> int:
        """The channels' axis."""
        return 1 if isinstance(self.makers[0], Convolution) else -1

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.makers[0].output_layout.channels or 0

    def scale(self, scale: Vector, editor: Editor) -> str:
        """Divide the tensors by a scale [channels]; a reason where that does not work out."""
        tried = [_again(maker).then(Affine.of(1 / scale)) for maker in self.makers]
        tried += [reader.after(Affine.of(scale)) for reader in self.current_readers()]
        reason = next((one for one in tried if isinstance(one, str)), "")
        if reason:
            return reason
        for maker in self.makers:
            _write(_again(maker).then(Affine.of(1 / scale)), editor)
        for reader in self.readers:  # some make tensors of the chain as well
            _write(_again(reader).after(Affine.of(scale)), editor)
        return ""

    def current_readers(self) -> list[Layer]:
        """The readers with the weights they have now."""
        return [_again(reader) for reader in self.readers]


class Chains:
    """Finds the chains of a model's main graph."""

    def __init__(self, model: ir.Model) -> None:
        layouts = Layouts(model)
        self._makers: dict[ir.Value, Layer] = {}
        self._readers: dict[ir.Node, Layer] = {}
        for node in model.graph:
            layer = read_convolution(node) or read_linear(node, layouts)
            if isinstance(layer, Convolution | Linear) and _is_alone(layer):
                self._makers[layer.output] = layer
                self._readers[node] = layer

    def find(self) -> Iterator[Chain]:
        """All chains that begin at a layer, in graph order."""
        seen: set[ir.Value] = set()
        for start in self._makers:
            if start in seen:
                continue
            chain = Chain()
            pending = [start]
            while pending:
                value = pending.pop()
                if value in seen:
                    continue
                seen.add(value)
                chain.values.append(value)
                pending += self._grow(chain, value)
            if chain.readers or not any(value.is_graph_output() for value in chain.values):
                yield chain

    def _grow(self, chain: Chain, value: ir.Value) -> list[ir.Value]:
        """Take in what makes and what reads a value; returns the values to go on with."""
        if value.is_graph_output():
            chain.reason = f"{value.name} is an output"
        more: list[ir.Value] = []
        maker = self._makers.get(value)
        if maker is not None:
            chain.makers.append(maker)
        else:
            more += self._through(chain, value.producer(), value)
        for use in value.uses():
            reader = self._readers.get(use.node)
            if reader is not None and use.idx == 0:
                chain.readers.append(reader)
            else:
                more += self._through(chain, use.node, value)
        layouts = [layer.output_layout for layer in chain.makers]
        layouts += [layer.input_layout for layer in chain.readers]
        if len(set(layouts)) > 1:
            chain.reason = "its tensors differ in their number or place of channels"
        return more

    def _through(self, chain: Chain, node: ir.Node | None, value: ir.Value) -> list[ir.Value]:
        """The other tensors of a node that scales along; a reason where it does not."""
        if node is None:
            chain.reason = f"{value.name} is an input"
            return []
        if is_op(node, *_UNARY) and (value is node.inputs[0] or value is node.outputs[0]):
            return [v for v in (node.inputs[0], node.outputs[0]) if v is not None]
        if is_op(node, "Clip") and _is_relu(node):
            return [v for v in (node.inputs[0], node.outputs[0]) if v is not None]
        if is_op(node, "Add") and not any(is_constant(v) for v in node.inputs):
            return [v for v in (*node.inputs, *node.outputs) if v is not None]
        chain.reason = f"{node.op_type} {label(node)} does not scale along"
        return []


def _is_relu(node: ir.Node) -> bool:
    """Whether a Clip is one from 0 without an upper bound."""
    low, high = [*node.inputs[1:], None, None][:2]
    return low is not None and scalar(low) == 0 and high is None


def _is_alone(layer: Layer) -> bool:
    """Whether nobody else reads its weight and bias."""
    values = [v for v in layer.node.inputs[1:] if v is not None]
    return all(len(value.uses()) == 1 and constant(value) is not None for value in values)


def _write(made: Folded | Refit | str, editor: Editor) -> None:
    if isinstance(made, str):
        raise ValueError(made)
    made.write(editor)


def _again(layer: Layer) -> Layer:
    """The layer with the weights it has now."""
    tensor = constant_tensor(layer.node.inputs[1])
    if tensor is None:
        raise ValueError(f"the weight of {label(layer.node)} is not constant")
    if isinstance(layer, Convolution):
        return Convolution(layer.node, tensor, layer.group)
    return Linear(layer.node, tensor, layer.adder, layer.rank)
