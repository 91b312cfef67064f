"""What the steps read, as one tensor ``[time, batch, width]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxopt.graph import is_op
from onnxopt_passes.recurrent._affine import Leaf
from onnxopt_passes.recurrent._build import Way, Writer
from onnxopt_passes.recurrent._reading import cut_of
from onnxopt_passes.recurrent._sizes import Size, Sizes
from onnxopt_passes.recurrent._trace import Trace


@dataclass(frozen=True)
class Span:
    """Neighbouring positions of one tensor.

    Attributes:
        value: The tensor, of rank 3.
        axis: The axis of time, 0 or 1.
        low: First position.
        length: Number of positions: a number, or a scalar value; None for the whole axis.
        way: The order in which the steps read them.
    """

    value: ir.Value
    axis: int
    low: int = 0
    length: int | ir.Value | None = None
    way: Way = "forward"

    @property
    def sources(self) -> tuple[ir.Value, ...]:
        """The tensors it reads."""
        return (self.value,)

    def turned(self) -> Span:
        """The same positions in the other order."""
        return replace(self, way="forward" if self.way == "reverse" else "reverse")

    def batches(self, sizes: Sizes) -> set[Size]:
        """The size of its batch axis."""
        return {sizes.axis(self.value, 1 - self.axis)}

    def write(self, writer: Writer, suffix: str) -> ir.Value:
        """The tensor, time first, in its own order."""
        value = self.value
        if isinstance(self.length, int):
            stop = self.low + self.length
            value = writer.window(value, self.axis, self.low, stop, f"{suffix}/window")
        elif self.length is not None:
            value = writer.first(value, self.axis, self.length, f"{suffix}/window")
        return value if self.axis == 0 else writer.transpose(value, f"{suffix}/time_first")


@dataclass(frozen=True)
class Parts:
    """One tensor ``[batch, width]`` a step."""

    values: tuple[ir.Value, ...]

    @property
    def way(self) -> Way:
        """The order of the steps."""
        return "forward"

    @property
    def sources(self) -> tuple[ir.Value, ...]:
        """The tensors it reads."""
        return self.values

    def batches(self, sizes: Sizes) -> set[Size]:
        """The sizes of the batch axes."""
        return {sizes.axis(value, 0) for value in self.values}

    def write(self, writer: Writer, suffix: str) -> ir.Value:
        """The tensors stacked."""
        steps = [
            writer.unsqueeze(value, 0, f"{suffix}/step{index}")
            for index, value in enumerate(self.values)
        ]
        return writer.op("Concat", steps, f"{suffix}/stacked", {"axis": 0})


Input = Span | Parts


def read_steps(trace: Trace, sizes: Sizes, leaves: Sequence[Leaf]) -> Input | None:
    """What unrolled steps read in turn; None where it is no sequence."""
    span = _read_span(trace, sizes, leaves)
    if span is not None:
        return simplified(trace, sizes, span)
    reads = [leaf.read for leaf in leaves if leaf.read is not None]
    if len(reads) < len(leaves) or len(set(reads)) == 1:
        return None
    return Parts(tuple(reads))


def _read_span(trace: Trace, sizes: Sizes, leaves: Sequence[Leaf]) -> Span | None:
    first = leaves[0]
    axis, count = first.axis, len(leaves)
    alike = replace(first, index=None)
    if axis is None or any(replace(leaf, index=None) != alike for leaf in leaves):
        return None
    length = sizes.axis(first.value, axis)
    positions = []
    for leaf in leaves:
        if not isinstance(leaf.index, int):
            return None
        if leaf.index < 0 and not isinstance(length, int):
            return None
        positions.append(leaf.index + (length if leaf.index < 0 and isinstance(length, int) else 0))
    low = min(positions)
    way: Way = "forward" if positions[0] <= positions[-1] else "reverse"
    ordered = positions if way == "forward" else positions[::-1]
    if ordered != list(range(low, low + count)):
        return None
    if first.turned and (first.turned != {axis} or length != count):
        return None
    span = Span(first.value, axis, low, None if length == count else count, way)
    return span.turned() if first.turned else span


def simplified(trace: Trace, sizes: Sizes, span: Span) -> Span:
    """The span with what only turns or transposes its whole tensor taken off."""
    for _ in range(4):
        node = span.value.producer()
        if node is None or not node.inputs or node.inputs[0] is None:
            return span
        source = trace.resolve(node.inputs[0])
        if is_op(node, "Slice") and span.length is None:
            cut = cut_of(node, trace.forms.ints)
            same = cut is not None and trace.forms.axis(source, cut.axis) == span.axis
            if cut is None or not same or not cut.reverses:
                return span
            span = replace(span.turned(), value=source)
        elif is_op(node, "Transpose"):
            perm = node.attributes.get("perm")
            if perm is None or tuple(perm.as_ints()) != (1, 0, 2) or span.axis == 0:
                return span
            span = replace(span, value=source, axis=0)
        else:
            return span
    return span


def write_inputs(writer: Writer, inputs: Sequence[Input]) -> ir.Value:
    """All inputs side by side, in the order of time of the first."""
    values = []
    for index, part in enumerate(inputs):
        suffix = "sequence" if len(inputs) == 1 else f"sequence{index}"
        value = part.write(writer, suffix)
        if part.way != inputs[0].way:
            value = writer.reverse(value, 0, f"{suffix}/turned")
        values.append(value)
    if len(values) == 1:
        return values[0]
    return writer.op("Concat", values, "sequences", {"axis": 2})
