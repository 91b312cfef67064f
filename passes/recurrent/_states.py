"""The states before the first step, and whether their batch is that of the inputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt_passes import _zeros
from onnxopt_passes.recurrent._affine import constant_shape
from onnxopt_passes.recurrent._build import Writer
from onnxopt_passes.recurrent._cell import Cell
from onnxopt_passes.recurrent._sequence import Input
from onnxopt_passes.recurrent._sizes import Size, Sizes
from onnxopt_passes.recurrent._trace import Trace


@dataclass(frozen=True)
class Refusal(Exception):
    """Why a recurrence that was found cannot be written as an operator."""

    reason: str


@dataclass(frozen=True)
class State:
    """A first state ``[batch, hidden]``; None where it is zero."""

    value: ir.Value | None

    def write(self, writer: Writer, suffix: str) -> ir.Value | None:
        """The state as the operator wants it, ``[1, batch, hidden]``."""
        return None if self.value is None else writer.unsqueeze(self.value, 0, suffix)


def common_batch(sizes: Sizes, cell: Cell, inputs: Iterable[Input]) -> Size:
    """The size of the batch of all that enters a cell besides its state.

    Raises:
        Refusal: Something may be broadcast along the batch.
    """
    batches = {size for part in inputs for size in part.batches(sizes)}
    if len(batches) != 1:
        raise Refusal("the batch sizes of its inputs are not known to be equal")
    (batch,) = batches
    offsets = (offset for slot in cell.slots for offset in slot.offsets)
    rows = {max((constant_shape(o.value) or ())[:-1], default=1) for o in offsets} - {1}
    if rows - {batch}:
        raise Refusal("a constant of its sums has another batch size than its inputs")
    return batch


def first_state(trace: Trace, sizes: Sizes, value: ir.Value | None, batch: Size) -> State:
    """The state, known to have the batch of the inputs.

    Raises:
        Refusal: The batch of the state may differ from that of the inputs.
    """
    if value is None:
        return State(None)
    value, zero = trace.resolve(value), is_zero(trace, value)
    rank = trace.forms[value].rank
    if zero and rank is not None and rank < 2:
        return State(None)
    if rank != 2:
        raise Refusal(f"the first state {value.name} is not known to be a matrix")
    own = sizes.axis(value, 0)
    if own == batch or (zero and own == 1):
        return State(None if zero else value)
    raise Refusal(f"the batch of the first state {value.name} is not known to be that of the input")


def is_zero(trace: Trace, value: ir.Value) -> bool:
    """Whether a value holds zeros only."""
    return _zeros.is_zero(value, resolve=trace.resolve, negative=True)
