"""Which nodes could be computed in integers: a node, its kernel, what it absorbs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxopt.graph import attribute, is_constant, is_op, only_consumer, scalar
from onnxopt.targets import ChannelsLast, Cost, Kernel, Target, product_of_sum
from onnxopt.transform import Note


@dataclass(frozen=True, eq=False)
class Slowed:
    """A float node that costs more where a unit ahead of it is in integers.

    Attributes:
        value: What it makes.
        cost: How much more.
    """

    value: ir.Value
    cost: Cost


@dataclass(frozen=True, eq=False)
class Unit:
    """A node of the main graph for which the target has an integer kernel.

    Attributes:
        node: The node.
        kernel: The target's row.
        operands: Positions of its activations among the node's inputs.
        absorbed: The activation function right after it that its output's range makes free.
        slowed: Float nodes behind it that cost more, once, where it or another unit that has them
            is in integers.
    """

    node: ir.Node
    kernel: Kernel
    operands: tuple[int, ...]
    absorbed: ir.Node | None
    slowed: tuple[Slowed, ...] = ()

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
    found = list(_units_and_notes(model, target))
    slowed = _slowed(model, target, owners_of(one for one in found if isinstance(one, Unit)))
    for one in found:
        behind = slowed.get(one) if isinstance(one, Unit) else None
        yield replace(one, slowed=tuple(behind)) if isinstance(one, Unit) and behind else one


def _units_and_notes(model: ir.Model, target: Target) -> Iterator[Unit | Note]:
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


def _slowed(
    model: ir.Model, target: Target, owners: Mapping[ir.Node, Unit]
) -> dict[Unit, list[Slowed]]:
    """By unit, the float nodes that it slows."""
    found: dict[Unit, list[Slowed]] = {}
    for node in model.graph:
        row = None if node in owners else target.float_kernel_for(node)
        if row is None or row.after_codes == Cost():
            continue
        if not any(use.node in owners for use in node.outputs[0].uses()):
            slowed = Slowed(node.outputs[0], row.after_codes)
            for unit in _in_blocks_ahead(node, target, owners):
                found.setdefault(unit, []).append(slowed)
    return found


def _in_blocks_ahead(
    node: ir.Node, target: Target, owners: Mapping[ir.Node, Unit]
) -> dict[Unit, None]:
    """The units up to the Convs whose layout a float node has, all being float; {} without."""
    layout = _layout(target)
    found: dict[Unit, None] = {}
    pending = [node.inputs[0]]
    while pending:
        value = pending.pop()
        producer = None if value is None else value.producer()
        unit = None if producer is None else owners.get(producer)
        if producer is None or (unit is None and not _keeps_blocks(producer, target)):
            return {}
        if unit is None:
            pending.append(producer.inputs[0])
        elif unit not in found:
            if unit.node.op_type not in layout.ops:
                return {}
            found[unit] = None
            pending += [] if unit.node.op_type in layout.made else unit.inputs
    return found


def _keeps_blocks(node: ir.Node, target: Target) -> bool:
    row = target.float_kernel_for(node)
    blocked = node.domain == "" and node.op_type in _layout(target).float_blocks
    return blocked or (row is not None and row.after_codes != Cost())


def _layout(target: Target) -> ChannelsLast:
    return target.int8.channels_last if target.int8 is not None else ChannelsLast()


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


def slowed_by(units: Iterable[Unit]) -> dict[Slowed, list[Unit]]:
    """Float nodes that integers ahead of them slow, and the units that do."""
    found: dict[Slowed, list[Unit]] = {}
    for unit in units:
        for slowed in unit.slowed:
            found.setdefault(slowed, []).append(unit)
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
