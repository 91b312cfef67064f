"""Which nodes could be computed in integers: a node, its kernel, what it absorbs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import attribute, is_constant, is_op, only_consumer, scalar
from onnxopt.targets import Kernel, Target, product_of_sum
from onnxopt.transform import Note


@dataclass(frozen=True, eq=False)
class Unit:
    """A node of the main graph for which the target has an integer kernel.

    Attributes:
        node: The node.
        kernel: The target's row.
        operands: Positions of its activations among the node's inputs.
        absorbed: The activation function right after it that its output's range makes free.
    """

    node: ir.Node
    kernel: Kernel
    operands: tuple[int, ...]
    absorbed: ir.Node | None

    @property
    def inputs(self) -> tuple[ir.Value, ...]:
        """Its activations."""
        found = (self.node.inputs[place] for place in self.operands)
        return tuple(value for value in found if value is not None)

    @property
    def outputs(self) -> tuple[ir.Value, ...]:
        """What leaves it, after the absorbed function."""
        node = self.absorbed or self.node
        return tuple(out for out in node.outputs if out.uses() or out.is_graph_output())

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """The node and what it absorbs."""
        return (self.node,) if self.absorbed is None else (self.node, self.absorbed)

    @property
    def repeats_codes(self) -> bool:
        """Whether its output has the codes of its input, perhaps read otherwise: no new noise."""
        return self.kernel.shares_scale or self.kernel.shares_codes

    @property
    def partner(self) -> ir.Node | None:
        """The product whose kernel also does this sum; None where there is none."""
        found = product_of_sum(self.node) if self.kernel.operands == "others" else None
        return None if found is None else found.producer()

    @property
    def weight(self) -> ir.Value | None:
        """Its constant weight, input 1, where the kernel has one."""
        return self.node.inputs[1] if self.kernel.weight else None


def find_units(model: ir.Model, target: Target) -> Iterator[Unit | Note]:
    """The nodes with a kernel, in graph order, and notes on products whose kernel does not fit.

    A node that reads a DequantizeLinear is part of a model quantized before: it is left alone.
    """
    for node in model.graph:
        if any(value is not None and _is_dequantized(value) for value in node.inputs):
            continue
        kernel = target.kernel_for(node)
        if isinstance(kernel, str):
            if any(row.weight for row in target.rows(node.op_type)):
                yield Note.refused(node, kernel)
        elif kernel is not None:
            unit = Unit(node, kernel, _operands(node, kernel), _absorbed(node, kernel))
            if unit.operands and unit.outputs:
                yield unit


def _operands(node: ir.Node, kernel: Kernel) -> tuple[int, ...]:
    places = range(1) if kernel.operands == "first" else range(len(node.inputs))
    product = product_of_sum(node) if kernel.operands == "others" else None
    values = [(at, node.inputs[at]) for at in places if node.inputs[at] is not product]
    return tuple(at for at, value in values if value is not None and not is_constant(value))


def _absorbed(node: ir.Node, kernel: Kernel) -> ir.Node | None:
    reader = only_consumer(node.outputs[0])
    if reader is None or reader.op_type not in kernel.absorbs or kernel.shares_codes:
        return None
    return reader if _starts_at_zero(reader) else None


def _starts_at_zero(node: ir.Node) -> bool:
    """A Relu, or a Clip from 0: an unsigned range from 0 does the same by saturating."""
    if is_op(node, "Relu"):
        return True
    if not is_op(node, "Clip") or len(node.inputs) < 2 or scalar(node.inputs[1]) != 0:
        return False
    upper = node.inputs[2] if len(node.inputs) > 2 else None
    return upper is None or (scalar(upper) or 0) > 0


def _is_dequantized(value: ir.Value) -> bool:
    return is_op(value.producer(), "DequantizeLinear")


def owners_of(units: Iterable[Unit]) -> dict[ir.Node, Unit]:
    """Which unit a node belongs to."""
    return {node: unit for unit in units for node in unit.nodes}


def readers_of(value: ir.Value, owners: Mapping[ir.Node, Unit]) -> list[Unit | None]:
    """Who reads a value, once a use: a unit that would read its codes, or None for float."""
    found: list[Unit | None] = []
    for node, place in value.uses():
        unit = owners.get(node)
        coded = unit is not None and (node is not unit.node or place in unit.operands)
        found.append(unit if coded else None)
    return found


def values_of(units: Iterable[Unit]) -> tuple[ir.Value, ...]:
    """The activations that units read or write, in graph order."""
    return tuple(dict.fromkeys(v for unit in units for v in (*unit.inputs, *unit.outputs)))


def output_axis(node: ir.Node) -> int:
    """The axis of a weight along which the output's channels lie."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else -1


def weight_dims(unit: Unit) -> tuple[int, ...]:
    """The sizes of a unit's weight; empty where it has none."""
    weight = unit.weight
    tensor = None if weight is None else ir.convenience.get_const_tensor(weight)
    return () if tensor is None else tuple(tensor.shape.numpy())
