"""Reductions over some axes, and whether their results line up with what was reduced."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import onnx_ir as ir

from onnxopt.graph import attribute, constant, constant_tensor, is_op, label
from onnxopt_passes.fuse._shape import Layouts

_ELEMENTWISE = ("Add", "Div", "Log", "Mul", "Neg", "Pow", "Reciprocal", "Relu", "Sqrt", "Sub")
_SHAPE_OPS = ("Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class Reduction:
    """A reduction node.

    Attributes:
        node: The node.
        source: What it reduces.
        axes: The axes, counted from the end (negative), in order.
        keeps_axes: Whether the reduced axes stay, with size 1.
    """

    node: ir.Node
    source: ir.Value
    axes: tuple[int, ...]
    keeps_axes: bool

    @classmethod
    def read(cls, node: ir.Node | None, layouts: Layouts, *op_types: str) -> Self | None:
        """Read a node of one of these types; None where its axes are not known from the end."""
        if node is None or not is_op(node, *op_types) or node.inputs[0] is None:
            return None
        if any(attr.is_ref() for attr in node.attributes.values()):
            return None
        axes = _axes(node)
        rank = layouts[node.inputs[0]].rank
        if not axes or (rank is None and max(axes) >= 0):
            return None
        counted = sorted(axis if axis < 0 else axis - (rank or 0) for axis in axes)
        return cls(node, node.inputs[0], tuple(counted), bool(attribute(node, "keepdims", 1)))

    @property
    def result(self) -> ir.Value:
        """The reduced value."""
        return self.node.outputs[0]

    @property
    def is_trailing(self) -> bool:
        """Whether it reduces the last axes and no other."""
        return self.axes == tuple(range(-len(self.axes), 0))

    def count(self) -> int | None:
        """How many elements make one; None where the sizes are not declared."""
        shape = self.source.shape
        if shape is None or len(shape) < -self.axes[0]:
            return None
        sizes = [shape[axis] for axis in self.axes]
        known = [size for size in sizes if isinstance(size, int)]
        return int(np.prod(known)) if len(known) == len(sizes) else None


def same_order(node: ir.Node) -> ir.Value | None:
    """The input of a node that only adds or drops axes of size 1, or regroups: the elements and
    their order stay.
    """
    if is_op(node, *_SHAPE_OPS):
        return node.inputs[0]
    if is_op(node, "Expand") and node.inputs[0] is not None:
        return node.inputs[0] if _same_sizes(node.inputs[0], node.outputs[0]) else None
    return None


def misaligned(
    nodes: Iterable[ir.Node], reductions: Iterable[Reduction], source: ir.Value
) -> ir.Value | None:
    """A value computed from reductions alone that does not broadcast against their source as a
    reduction that keeps its axes would; None where all do.

    Only shape operators and reductions that drop axes can be at fault. A shape operator on what is
    not computed from reductions alone is.
    """
    inside, rows = set(nodes), list(reductions)
    if all(row.keeps_axes for row in rows) and not any(
        is_op(node, "Expand", *_SHAPE_OPS) for node in inside
    ):
        return None
    small = _computed_from({row.result for row in rows}, inside, source)
    for node in sorted(inside, key=label):
        shaped = same_order(node) is not None
        if shaped and node.inputs[0] not in small:
            return node.inputs[0]
        for value in node.inputs:
            if value is None or value not in small or shaped or node.outputs[0] in small:
                continue
            if not _aligned(value, source, rows[0].axes):
                return value
    return None


def _computed_from(
    roots: set[ir.Value], inside: set[ir.Node], source: ir.Value
) -> set[ir.Value | None]:
    """What some nodes compute from roots and single numbers alone."""
    found: set[ir.Value | None] = set(roots)
    pending = [use.node for root in roots for use in root.uses()]
    while pending:
        node = pending.pop()
        if node not in inside or node.outputs[0] in found:
            continue
        shaped = same_order(node) is not None
        inputs = node.inputs[:1] if shaped else node.inputs
        if all(value in found or _is_number(value) for value in inputs):
            found.add(node.outputs[0])
            pending.extend(use.node for use in node.outputs[0].uses())
    return found - {source}


def _is_number(value: ir.Value | None) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tensor.size == 1


def _aligned(value: ir.Value, source: ir.Value, axes: tuple[int, ...]) -> bool:
    """Whether the declared shape is the source's with 1 in the reduced axes."""
    shape, whole = _shape(value), source.shape
    if shape is None or whole is None or len(shape) != len(whole):
        return False
    kept = [axis for axis in range(-len(whole), 0) if axis not in axes]
    ones = all(shape[axis] == 1 for axis in axes)
    return ones and sum(not _same_size(shape[axis], whole[axis]) for axis in kept) <= 1


def _shape(value: ir.Value) -> ir.Shape | None:
    """The declared shape of a value, or of what it is computed from by elementwise steps."""
    while value.shape is None:
        node = value.producer()
        inputs = () if node is None or not is_op(node, *_ELEMENTWISE) else node.inputs
        sources = [item for item in inputs if item is not None and not _is_number(item)]
        if len(sources) != 1:
            return None
        value = sources[0]
    return value.shape


def _same_sizes(left: ir.Value, right: ir.Value) -> bool:
    if left.shape is None or right.shape is None or len(left.shape) != len(right.shape):
        return False
    return all(_same_size(a, b) for a, b in zip(left.shape, right.shape, strict=True))


def _same_size(left: int | ir.SymbolicDim, right: int | ir.SymbolicDim) -> bool:
    if isinstance(left, ir.SymbolicDim) and left.value is None:
        return False
    return left == right


def _axes(node: ir.Node) -> tuple[int, ...]:
    """The reduced axes as written; none where they are unknown or all."""
    given = attribute(node, "axes", ())
    if isinstance(given, tuple | list) and given:
        return tuple(int(axis) for axis in given)
    array = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return () if array is None else tuple(int(axis) for axis in array.reshape(-1))
