"""Parameters and multiply-accumulates of a whole model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.counting.macs import macs
from onnxopt.graph import all_graphs, constant_tensor, is_op, label, scalar, subgraphs

_CODE_BITS = 8


@dataclass(frozen=True)
class NodeCount:
    """What one node multiplies and holds.

    Attributes:
        node: Its name.
        op_type: Its operator.
        macs: Multiply-accumulates in one run, those of its bodies included; None where that
            depends on sizes that the model does not declare.
        parameters: Elements of the constants it reads.
    """

    node: str
    op_type: str
    macs: int | None
    parameters: int


@dataclass(frozen=True)
class ModelCount:
    """What a model multiplies in one run, and what it holds.

    Attributes:
        nodes: The nodes of the main graph that multiply something or read parameters.
        macs: Multiply-accumulates of all nodes whose sizes are known: of an If the branch with
            most, of a Loop or Scan whose number of rounds is not constant one round.
        parameters: Elements of all constants of floating-point numbers or of codes (integers of
            at most 8 bits), each once.
        uncounted: Nodes that multiply something whose sizes are not known.
        once: Loops and Scans of which one round was counted.
    """

    nodes: tuple[NodeCount, ...]
    macs: int
    parameters: int
    uncounted: tuple[str, ...]
    once: tuple[str, ...]


def count(model: ir.Model) -> ModelCount:
    """Count by the sizes that the model declares; calls of model-local functions count nothing."""
    counter = _Counter()
    nodes = [counter.node(node) for node in model.graph]
    return ModelCount(
        nodes=tuple(one for one in nodes if one.macs != 0 or one.parameters),
        macs=sum(one.macs or 0 for one in nodes),
        parameters=sum(_size(tensor) for tensor in _constants(model)),
        uncounted=tuple(counter.uncounted),
        once=tuple(counter.once),
    )


class _Counter:
    """Counts nodes with their bodies, and remembers what it could not."""

    def __init__(self) -> None:
        self.uncounted: list[str] = []
        self.once: list[str] = []

    def node(self, node: ir.Node) -> NodeCount:
        own = macs(node)
        if own is None:
            self.uncounted.append(label(node))
        bodies = [sum(self.node(inner).macs or 0 for inner in graph) for graph in subgraphs(node)]
        if bodies and is_op(node, "If"):
            inside = max(bodies)
        else:
            inside = sum(bodies) * (self._rounds(node) if any(bodies) else 1)
        total = None if own is None else own + inside
        return NodeCount(label(node), node.op_type, total, _parameters_of(node))

    def _rounds(self, node: ir.Node) -> int:
        """How often a body runs; 1 where that is not known."""
        trips = scalar(node.inputs[0]) if is_op(node, "Loop") else None
        if trips is not None:
            return max(int(trips), 0)
        self.once.append(label(node))
        return 1


def _parameters_of(node: ir.Node) -> int:
    tensors = []
    for value in node.inputs:
        maker = None if value is None else value.producer()
        held = maker.inputs[0] if maker is not None and is_op(maker, "DequantizeLinear") else value
        tensor = constant_tensor(held)
        if tensor is not None and not is_op(node, "DequantizeLinear"):
            tensors.append(tensor)
    return sum(_size(tensor) for tensor in tensors)


def _constants(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in all_graphs(model):
        initializers: Iterable[ir.Value] = graph.initializers.values()
        yield from (v.const_value for v in initializers if v.const_value is not None)
        for node in graph:
            if is_op(node, "Constant"):
                tensor = constant_tensor(node.outputs[0])
                if tensor is not None:
                    yield tensor


def _size(tensor: ir.TensorProtocol) -> int:
    """Elements of a tensor of parameters; 0 of shapes, axes, texts."""
    dtype = tensor.dtype
    if dtype == ir.DataType.STRING or dtype == ir.DataType.BOOL:
        return 0
    is_code = dtype.is_integer() and dtype.bitwidth <= _CODE_BITS
    return math.prod(tensor.shape.numpy()) if dtype.is_floating_point() or is_code else 0
