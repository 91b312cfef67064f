"""Writes the recurrent operator of a cell: its weights, states and attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.convenience import convert_attributes

from onnxopt.graph import AttributeValue, Editor, record_origin
from onnxopt_passes.recurrent._cell import Cell, Kind, Roles, Row
from onnxopt_passes.recurrent._trace import Activation

Way = Literal["forward", "reverse"]

_SIGMOID, _TANH = Activation("Sigmoid"), Activation("Tanh")
DEFAULTS: dict[Kind, tuple[Activation, ...]] = {
    "LSTM": (_SIGMOID, _TANH, _TANH),
    "GRU": (_SIGMOID, _TANH),
    "RNN": (_TANH,),
}
"""The activations of each operator where it names none."""

SLOTS: dict[Kind, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "LSTM": ((0, 1, 2, 3), (0, 1, 2, 3)),
    "GRU": ((0, 1, 2), (0, 1, 3)),
    "RNN": ((0,), (0,)),
}
"""The slots of the input matrix and of the state matrix, in the operator's order."""

_AXES_AS_INPUT, _BOUNDS_AS_INPUT = 13, 10


@dataclass(frozen=True)
class Writer:
    """Writes nodes before an anchor, named after it, in the spelling of an opset.

    The operator remembers all nodes of its origin, what surrounds it the first of them.
    """

    editor: Editor
    anchor: ir.Node
    base: str
    version: int
    origin: tuple[ir.Node, ...] = ()

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        suffix: str,
        attributes: dict[str, AttributeValue] | None = None,
    ) -> ir.Value:
        """A node with one output."""
        name = f"{self.base}/{suffix}"
        return self.editor.insert_before(
            self.anchor, op_type, inputs, name, attributes, origin=self.origin[:1]
        )

    def ints(self, numbers: Sequence[int], suffix: str) -> ir.Value:
        """A constant vector of integers."""
        array = np.array(numbers, np.int64)
        return self.editor.constant(self.anchor, f"{self.base}/{suffix}", array)

    def squeeze(self, value: ir.Value, axis: int, suffix: str) -> ir.Value:
        """The value without an axis of size one."""
        return self._axes_op("Squeeze", value, axis, suffix)

    def unsqueeze(self, value: ir.Value, axis: int, suffix: str) -> ir.Value:
        """The value with a new axis of size one."""
        return self._axes_op("Unsqueeze", value, axis, suffix)

    def transpose(self, value: ir.Value, suffix: str) -> ir.Value:
        """Batch and time exchanged."""
        return self.op("Transpose", [value], suffix, {"perm": [1, 0, 2]})

    def reverse(self, value: ir.Value, axis: int, suffix: str) -> ir.Value:
        """The value backwards along an axis; opset 10 and newer."""
        parts = {"starts": -1, "ends": -(2**63) + 1, "axes": axis, "steps": -1}
        inputs = [self.ints([n], f"{suffix}/{name}") for name, n in parts.items()]
        return self.op("Slice", [value, *inputs], suffix)

    def window(self, value: ir.Value, axis: int, start: int, stop: int, suffix: str) -> ir.Value:
        """Some positions along an axis."""
        parts = {"starts": start, "ends": stop, "axes": axis}
        if self.version < _BOUNDS_AS_INPUT:
            attributes: dict[str, AttributeValue] = {name: [n] for name, n in parts.items()}
            return self.op("Slice", [value], suffix, attributes)
        inputs = [self.ints([n], f"{suffix}/{name}") for name, n in parts.items()]
        return self.op("Slice", [value, *inputs], suffix)

    def first(self, value: ir.Value, axis: int, count: ir.Value, suffix: str) -> ir.Value:
        """The first positions along an axis, as many as a scalar says; opset 10 and newer."""
        stop = self.op("Reshape", [count, self.ints([1], f"{suffix}/one")], f"{suffix}/ends")
        inputs = [self.ints([0], f"{suffix}/starts"), stop, self.ints([axis], f"{suffix}/axes")]
        return self.op("Slice", [value, *inputs], suffix)

    def pick(self, value: ir.Value, index: int, suffix: str) -> ir.Value:
        """One position along the first axis."""
        number = np.array(index, np.int64)
        at = self.editor.constant(self.anchor, f"{self.base}/{suffix}/index", number)
        return self.op("Gather", [value, at], suffix, {"axis": 0})

    def scalar(self, number: int, suffix: str) -> ir.Value:
        """A constant integer."""
        array = np.array(number, np.int64)
        return self.editor.constant(self.anchor, f"{self.base}/{suffix}", array)

    def sum_over(self, value: ir.Value, axis: int, suffix: str) -> ir.Value:
        """The sum along an axis, which goes."""
        attributes: dict[str, AttributeValue] = {"keepdims": 0}
        if self.version < _AXES_AS_INPUT:
            return self.op("ReduceSum", [value], suffix, {"axes": [axis], **attributes})
        axes = self.ints([axis], f"{suffix}/axes")
        return self.op("ReduceSum", [value, axes], suffix, attributes)

    def _axes_op(self, op_type: str, value: ir.Value, axis: int, suffix: str) -> ir.Value:
        if self.version < _AXES_AS_INPUT:
            return self.op(op_type, [value], suffix, {"axes": [axis]})
        return self.op(op_type, [value, self.ints([axis], f"{suffix}/axes")], suffix)

    def after(self, anchor: ir.Node) -> Writer:
        """The same writer at another place."""
        return replace(self, anchor=anchor)


def recurrent(
    writer: Writer,
    cell: Cell,
    roles: Roles,
    sequence: ir.Value,
    states: Sequence[ir.Value | None],
    way: Way,
    lengths: ir.Value | None = None,
) -> ir.Node:
    """The operator for a cell over ``sequence`` ``[time, batch, width]``.

    Args:
        writer: Where it goes.
        cell: Any of the steps, whose weights it takes.
        roles: What the weights mean.
        sequence: All input leaves side by side, in the order of the roles.
        states: The first hidden state and, for an LSTM, cell state ``[1, batch, hidden]``; None
            for zeros.
        way: The order of the steps.
        lengths: The number of steps of each item of the batch, int32; None for all.
    """
    dtype = roles_dtype(roles).numpy()
    constants = [
        writer.editor.constant(writer.anchor, f"{writer.base}/{name}", array.astype(dtype))
        for name, array in zip("WRB", _weights(cell, roles), strict=True)
    ]
    inputs = [sequence, *constants]
    known = [lengths, *states]
    while known and known[-1] is None:
        known.pop()
    node = ir.Node(
        "",
        cell.kind,
        [*inputs, *known],
        convert_attributes(_attributes(cell, way)),
        num_outputs=3 if cell.kind == "LSTM" else 2,
        name=writer.editor.fresh(f"{writer.base}/{cell.kind.lower()}"),
    )
    ranks = (4, 3, 3)
    for output, suffix, rank in zip(node.outputs, ("all", "hidden", "cell"), ranks, strict=False):
        output.name = writer.editor.fresh(f"{writer.base}/{suffix}")
        output.dtype = roles_dtype(roles)
        output.shape = ir.Shape([*[None] * (rank - 1), cell.size])
    record_origin(node, writer.origin)
    graph = writer.anchor.graph
    if graph is None:
        raise ValueError("the anchor stands in a graph")
    graph.insert_before(writer.anchor, node)
    return node


def roles_dtype(roles: Roles) -> ir.DataType:
    """The element type of the weights."""
    weight = next(weight for slot in roles.hidden for weight in slot)
    tensor = ir.convenience.get_const_tensor(weight.value)
    return ir.DataType.UNDEFINED if tensor is None else tensor.dtype


def _weights(cell: Cell, roles: Roles) -> list[npt.NDArray[np.float64]]:
    """``W [1, g·hidden, input]``, ``R [1, g·hidden, hidden]``, ``B [1, 2·g·hidden]``, g gates."""
    slots, state_slots = SLOTS[cell.kind]
    inputs = [_side_by_side(roles.inputs, slot, cell.size) for slot in slots]
    hidden = [_side_by_side([roles.hidden], slot, cell.size) for slot in state_slots]
    biases = cell.biases or ()
    own, state = [biases[slot] for slot in slots], [np.zeros(cell.size) for _ in slots]
    if cell.kind == "GRU":
        state[2] = biases[3]
    parts = (np.concatenate(inputs), np.concatenate(hidden), np.concatenate([*own, *state]))
    return [part[None] for part in parts]


def _side_by_side(rows: Sequence[Row], slot: int, size: int) -> npt.NDArray[np.float64]:
    """The matrices ``[hidden, Σ widths]`` by which some leaves enter a slot."""
    return np.concatenate([_total(row, slot, size) for row in rows], axis=0).T


def _total(row: Row, slot: int, size: int) -> npt.NDArray[np.float64]:
    if not row[slot]:
        return np.zeros((row_width(row), size))
    first, *rest = row[slot]
    total = first.array()
    for weight in rest:
        total = total + weight.array()
    return total


def row_width(row: Row) -> int:
    """The width of the leaf that enters by these weights."""
    start, stop = next(weight for slot in row for weight in slot).rows
    return stop - start


def _attributes(cell: Cell, way: Way) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {"hidden_size": cell.size}
    if way != "forward":
        attributes["direction"] = way
    if cell.kind == "GRU":
        attributes["linear_before_reset"] = int(cell.resets_after)
    if cell.activations != DEFAULTS[cell.kind]:
        attributes["activations"] = [a.name for a in cell.activations]
        alphas = [a.alpha for a in cell.activations if a.alpha is not None]
        betas = [a.beta for a in cell.activations if a.beta is not None]
        if alphas:
            attributes["activation_alpha"] = alphas
        if betas:
            attributes["activation_beta"] = betas
    return attributes
