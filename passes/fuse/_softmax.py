"""Exponentials divided by their sum along one axis, found from the Exp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import constant, constant_tensor, is_op
from onnxopt_passes.fuse._algebra import expand, power
from onnxopt_passes.fuse._reduction import Reduction, same_order
from onnxopt_passes.fuse._shape import Layouts

_MOST_ABOVE = 6
AXIS_OPSET = 13
"""From here on Softmax works along one axis; before, over all from there on, flattened."""
_NEGATIVE_OPSET = 11


@dataclass(frozen=True)
class Exponentials:
    """``exp(source - anything constant along the axis)`` and its sum along that axis.

    Attributes:
        source: The argument, without what a softmax does not depend on.
        argument: The argument as it is.
        exponential: The result of the Exp.
        total: Its sum.
        rows: The reductions that take part.
        nodes: The nodes that take part.
    """

    source: ir.Value
    argument: ir.Value
    exponential: ir.Value
    total: Reduction
    rows: tuple[Reduction, ...]
    nodes: frozenset[ir.Node]


def read_exponentials(node: ir.Node, layouts: Layouts) -> list[Exponentials]:
    """The sums along one axis of what an Exp computes."""
    if not is_op(node, "Exp") or node.inputs[0] is None:
        return []
    value, argument, found = node.outputs[0], node.inputs[0], []
    for use in value.uses():
        total = Reduction.read(use.node, layouts, "ReduceSum")
        if total is not None and len(total.axes) == 1:
            source, highest, nodes = _shifted(argument, total.axes, layouts)
            rows = (total,) if highest is None else (total, highest)
            inside = nodes | {node, total.node}
            found.append(Exponentials(source, argument, value, total, rows, inside))
    return found


def axis_attribute(axis: int, rank: int | None, version: int) -> int | str:
    """The axis as Softmax of an opset takes it, or why it cannot."""
    if version >= AXIS_OPSET or (version >= _NEGATIVE_OPSET and axis == -1):
        return axis
    if axis != -1:
        return f"Softmax along a middle axis needs opset {AXIS_OPSET}: raise-opset first"
    return "the rank is unknown" if rank is None else rank - 1


def _shifted(
    argument: ir.Value, axes: tuple[int, ...], layouts: Layouts
) -> tuple[ir.Value, Reduction | None, frozenset[ir.Node]]:
    """``x`` where the argument is ``x`` less its maximum along the axes; else the argument."""
    for highest in _maxima(argument, layouts):
        if highest.axes != axes:
            continue
        found = expand(argument, {highest.source, highest.result}, _unchanged)
        wanted = {power(highest.source, 1): 1.0, power(highest.result, 1): -1.0}
        if found is not None and dict(found.terms) == wanted:
            return highest.source, highest, found.nodes | {highest.node}
    return argument, None, frozenset()


def _unchanged(node: ir.Node) -> ir.Value | None:
    """``same_order``, and the maximum of a value and minus infinity."""
    if is_op(node, "Max") and len(node.inputs) == 2:
        left, right = node.inputs
        if _is_lowest(left):
            return right
        return left if _is_lowest(right) else None
    return same_order(node)


def _is_lowest(value: ir.Value | None) -> bool:
    tensor = constant_tensor(value)
    array = constant(value) if tensor is not None and tensor.size == 1 else None
    return array is not None and array.dtype.kind == "f" and bool((array == -np.inf).all())


def _maxima(value: ir.Value, layouts: Layouts) -> list[Reduction]:
    """The maxima that a value is computed from."""
    found: dict[ir.Node, None] = {}
    pending: list[ir.Value | None] = [value]
    while pending and len(found) < _MOST_ABOVE:
        current = pending.pop(0)
        node = None if current is None else current.producer()
        if node is None or node in found:
            continue
        found[node] = None
        if is_op(node, "Sub", "Max", "Expand", "Reshape", "Unsqueeze", "Squeeze"):
            pending.extend(node.inputs)
    rows = [Reduction.read(node, layouts, "ReduceMax") for node in found]
    return [row for row in rows if row is not None]
