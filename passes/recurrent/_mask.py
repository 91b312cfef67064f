"""Steps that a mask leaves out: ``h' = mask ? cell(x, h) : h``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import is_op
from onnxopt_passes.recurrent._affine import Leaf
from onnxopt_passes.recurrent._build import Way, Writer
from onnxopt_passes.recurrent._form import Form
from onnxopt_passes.recurrent._reading import operand
from onnxopt_passes.recurrent._sequence import Span
from onnxopt_passes.recurrent._states import is_zero
from onnxopt_passes.recurrent._trace import Trace

OLDEST = 11
"""The opset from which on what packs steps exists."""

_WIDENED = Form(3, 1)


@dataclass(frozen=True)
class Choice:
    """``mask ? new : old`` with a mask ``[batch, 1]``; None as the old value stands for zeros."""

    mask: Leaf
    new: ir.Value
    old: ir.Value | None


def choice_of(trace: Trace, value: ir.Value) -> Choice | None:
    """How a value is chosen by a mask: a Where, or two products with it and its opposite."""
    node = trace.resolve(value).producer()
    if node is None or None in node.inputs:
        return None
    if is_op(node, "Where"):
        mask, new, old = (trace.resolve(v) for v in node.inputs if v is not None)
        condition = _condition(trace, mask, certain=True)
        if condition is None:
            return None
        return _choice(trace, *condition, new, old)
    if is_op(node, "Mul"):
        half = _half(trace, node)
        return None if half is None else _choice(trace, half[0], half[1], half[2], None)
    if not is_op(node, "Add") or len(node.inputs) != 2:
        return None
    makers = [trace.resolve(v).producer() for v in node.inputs if v is not None]
    halves = [half for m in makers if m is not None and (half := _half(trace, m)) is not None]
    if len(halves) != 2 or halves[0][0] != halves[1][0] or halves[0][1] == halves[1][1]:
        return None
    (leaf, holds, one), (_, _, two) = halves
    return _choice(trace, leaf, holds, one, two)


def _choice(
    trace: Trace, mask: Leaf, holds: bool, one: ir.Value, other: ir.Value | None
) -> Choice | None:
    new, old = (one, other) if holds else (other, one)
    if new is None or trace.forms[mask.value] != _WIDENED or mask.axis is None:
        return None
    kept = None if old is None or is_zero(trace, old) else trace.resolve(old)
    return Choice(mask, trace.resolve(new), kept)


def _half(trace: Trace, node: ir.Node) -> tuple[Leaf, bool, ir.Value] | None:
    """The mask of ``mask·value``, whether it holds there, and the value."""
    if not is_op(node, "Mul") or len(node.inputs) != 2:
        return None
    left, right = (trace.resolve(v) for v in node.inputs if v is not None)
    for weight, value in ((left, right), (right, left)):
        known = _weight(trace, weight)
        if known is not None:
            return *known, value
    return None


def _weight(trace: Trace, value: ir.Value) -> tuple[Leaf, bool] | None:
    """The condition that a number is 1 for and otherwise 0."""
    other = trace.complement_of(value)
    node = trace.resolve(value if other is None else other).producer()
    source = None if node is None else operand(node, 0)
    if node is None or source is None or not is_op(node, "Cast"):
        return None
    known = _condition(trace, source)
    return None if known is None else (known[0], known[1] == (other is None))


def _condition(trace: Trace, value: ir.Value, *, certain: bool = False) -> tuple[Leaf, bool] | None:
    """A position of a sequence of booleans, and whether the value is it or its opposite.

    That they are booleans is certain, or follows from what the nodes are or the file declares.
    """
    holds = True
    while True:
        value = trace.resolve(value)
        node = value.producer()
        source = None if node is None else operand(node, 0)
        if trace.steps.get(value) is None and node is not None and source is not None:
            if is_op(node, "Not"):
                value, holds, certain = source, not holds, True
                continue
            if is_op(node, "Expand", "Tile") and trace.forms[source] == Form(2, 1):
                value = source
                continue
        leaf = trace.leaf(value)
        known = certain or ir.DataType.BOOL in (value.dtype, leaf.value.dtype)
        return (leaf, holds) if known else None


@dataclass(frozen=True)
class Mask:
    """What keeps the states of a cell: as a body reads it, and over all iterations."""

    leaf: Leaf
    span: Span


@dataclass(frozen=True)
class Packing:
    """Where the steps lie that a mask keeps, moved to the front for each item of the batch.

    Attributes:
        mask: Of booleans, ``[time, batch, 1]``.
        place: For each step its new place, ``[time, batch]``: those kept first, in order.
        earlier: How many steps were kept up to each, ``[time, batch]``.
        item: The number of the item of the batch, ``[time, batch, 1]``.
        lengths: How many steps are kept, int32 ``[batch]``.
    """

    mask: ir.Value
    place: ir.Value
    earlier: ir.Value
    item: ir.Value
    lengths: ir.Value

    @classmethod
    def write(cls, writer: Writer, span: Span, way: Way) -> Packing:
        """Compute it before the writer's anchor, for a sequence that is read in a certain way."""
        mask = span.write(writer, "mask")
        if span.way != way:
            mask = writer.reverse(mask, 0, "mask/turned")
        kept = writer.squeeze(mask, 2, "mask/flat")
        number = writer.op("Cast", [kept], "mask/number", {"to": int(ir.DataType.INT64)})
        zero, one = (writer.scalar(n, f"mask/{name}") for n, name in ((0, "zero"), (1, "one")))
        earlier = writer.op("CumSum", [number, zero], "mask/earlier")
        total = writer.sum_over(number, 0, "mask/total")
        lengths = writer.op("Cast", [total], "mask/lengths", {"to": int(ir.DataType.INT32)})
        shape = writer.op("Shape", [kept], "mask/shape")
        times, items = (
            writer.op("Range", [zero, writer.pick(shape, axis, f"{name}/count"), one], name)
            for axis, name in ((0, "mask/time"), (1, "mask/item"))
        )
        left_out = writer.op(
            "Sub", [writer.unsqueeze(times, 1, "mask/times"), earlier], "mask/left_out"
        )
        behind = writer.op("Add", [total, left_out], "mask/behind")
        ahead = writer.op("Sub", [earlier, one], "mask/ahead")
        place = writer.op("Where", [kept, ahead, behind], "mask/place")
        spread = writer.op("Expand", [items, shape], "mask/items")
        return cls(mask, place, earlier, writer.unsqueeze(spread, 2, "mask/index"), lengths)

    def pack(self, writer: Writer, sequence: ir.Value) -> ir.Value:
        """A sequence ``[time, batch, width]`` with the steps that are kept in front."""
        index = self._index(writer, self.place, "packed")
        return writer.op("ScatterND", [sequence, index, sequence], "packed")

    def unpack(self, writer: Writer, states: ir.Value, *, repeats: bool) -> ir.Value:
        """The states ``[time, batch, hidden]`` of packed steps at their own times again.

        Steps that were left out give zeros, or once more the state before, if the output repeats.
        """
        nothing = writer.editor.constant(
            writer.anchor, f"{writer.base}/unpacked/zero", np.zeros((), np.float32)
        )
        place, mask = self.place, self.mask
        if repeats:
            zero, one = (writer.scalar(n, f"unpacked/{n}") for n in (0, 1))
            place = writer.op("Sub", [self.earlier, one], "unpacked/place")  # -1 is hidden below
            begun = writer.op("Greater", [self.earlier, zero], "unpacked/begun")
            mask = writer.unsqueeze(begun, 2, "unpacked/mask")
        index = self._index(writer, place, "unpacked")
        found = writer.op("GatherND", [states, index], "unpacked/found")
        return writer.op("Where", [mask, found, nothing], "unpacked")

    def _index(self, writer: Writer, place: ir.Value, suffix: str) -> ir.Value:
        column = writer.unsqueeze(place, 2, f"{suffix}/column")
        return writer.op("Concat", [column, self.item], f"{suffix}/index", {"axis": 2})
