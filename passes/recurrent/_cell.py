"""One step of a recurrent cell as data, and the table that tells two steps' weights apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt_passes.recurrent._affine import Affine, Leaf, Weight
from onnxopt_passes.recurrent._trace import Activation, Trace

Kind = Literal["LSTM", "GRU", "RNN"]
Row = tuple[tuple[Weight, ...], ...]
"""The weights by which one leaf enters each slot."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One step: its sums before the activations, and the states it reads and writes.

    Attributes:
        kind: The operator it is a step of.
        activations: As the operator lists them.
        slots: LSTM: i, o, f, c; GRU: z, r, the input's and the state's part of h; RNN: h.
        hidden: The new hidden state.
        previous: The old hidden state, where the cell itself says which leaf that is.
        memory: The new cell state of an LSTM.
        previous_memory: The old one.
        inner: Values that only this cell and the next may read.
        resets_after: GRU: whether the reset gate stands behind the matrix product.
    """

    kind: Kind
    activations: tuple[Activation, ...]
    slots: tuple[Affine, ...]
    hidden: ir.Value
    previous: ir.Value | None = None
    memory: ir.Value | None = None
    previous_memory: ir.Value | None = None
    inner: tuple[ir.Value, ...] = field(default=(), repr=False)
    resets_after: bool = False

    @cached_property
    def table(self) -> dict[Leaf, Row]:
        """For each leaf the weights by which it enters the slots."""
        rows: dict[Leaf, list[list[Weight]]] = {}
        for index, slot in enumerate(self.slots):
            for leaf, weight in slot.terms:
                rows.setdefault(leaf, [[] for _ in self.slots])[index].append(weight)
        return {leaf: _row(row) for leaf, row in rows.items()}

    @cached_property
    def biases(self) -> tuple[npt.NDArray[np.float64], ...] | None:
        """The bias of each slot; None where one differs along the batch."""
        found = [slot.bias() for slot in self.slots]
        known = tuple(bias for bias in found if bias is not None)
        return known if len(known) == len(found) else None

    @property
    def size(self) -> int:
        """Width of the hidden state."""
        return self.slots[0].width

    @property
    def anchor(self) -> ir.Node:
        """The node that computes the new hidden state."""
        node = self.hidden.producer()
        if node is None:
            raise ValueError("a cell's state is computed")
        return node

    def is_like(self, other: Cell) -> bool:
        """Whether both are of one kind and have equal biases and activations."""
        mine, theirs = self.biases, other.biases
        if mine is None or theirs is None or len(mine) != len(theirs):
            return False
        alike = (self.kind, self.activations, self.resets_after, self.size) == (
            other.kind,
            other.activations,
            other.resets_after,
            other.size,
        )
        return alike and all(
            a is b or np.allclose(a, b, rtol=1e-6, atol=1e-7)
            for a, b in zip(mine, theirs, strict=True)
        )


@dataclass(frozen=True)
class Roles:
    """Which weights of a cell belong to its hidden state and which to its inputs."""

    hidden: Row
    inputs: tuple[Row, ...]

    def leaves(self, cell: Cell) -> tuple[Leaf | None, tuple[Leaf, ...]] | None:
        """A cell's hidden leaf and input leaves in these roles; None where they do not fit.

        Products with a constant state may have been folded into the biases: then it enters some
        slots only, or there is no hidden leaf. ``is_like`` tells whether they added nothing.
        """
        rest = dict(cell.table)
        hidden = next((leaf for leaf, row in rest.items() if _is_part(row, self.hidden)), None)
        if hidden is not None:
            del rest[hidden]
        ordered = _ordered(rest)
        if tuple(row for _, row in ordered) != self.inputs:
            return None
        return hidden, tuple(leaf for leaf, _ in ordered)


def roles_of(cell: Cell, hidden: Leaf) -> Roles | None:
    """The roles of a cell's weights given its hidden leaf; None where they are ambiguous."""
    rest = dict(cell.table)
    own = rest.pop(hidden, None)
    rows = tuple(row for _, row in _ordered(rest))
    if own is None or not rows or len(set(rows)) < len(rows) or own in rows:
        return None
    return Roles(own, rows)


def is_state(trace: Trace, leaf: Leaf, value: ir.Value) -> bool:
    """Whether a leaf is a certain value itself."""
    return leaf.axis is None and leaf.value is trace.resolve(value)


def has_matrices(trace: Trace, slots: Iterable[Affine]) -> bool:
    """Whether every leaf is a matrix ``[batch, width]`` at each step."""
    leaves = {leaf for slot in slots for leaf, _ in slot.terms}
    return bool(leaves) and all(
        trace.forms[leaf.value].rank == (2 if leaf.axis is None else 3) for leaf in leaves
    )


def _is_part(row: Row, whole: Row) -> bool:
    return all(not own or own == full for own, full in zip(row, whole, strict=True))


def _row(weights: Sequence[Sequence[Weight]]) -> Row:
    return tuple(tuple(sorted(slot, key=lambda weight: weight.order)) for slot in weights)


def _ordered(table: dict[Leaf, Row]) -> list[tuple[Leaf, Row]]:
    return sorted(table.items(), key=lambda item: [[w.order for w in s] for s in item[1]])
