"""Chains of scalar affine maps and clamps of one value, read as a single saturating line.

``y = min(max(scale·x + shift, low), high)`` is closed under composition, so that every spelling of
a hard sigmoid comes out as the same four numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import attribute, is_constant, is_op, only_consumer
from onnxopt_passes.fuse._shape import Layouts

SIXTH = 1 / 6
RUNNABLE = frozenset({None, ir.DataType.FLOAT, ir.DataType.FLOAT16})
"""Types in which runtimes have kernels for HardSigmoid and HardSwish; None is an unknown one."""

_LONGEST = 12
"""Nodes to walk at most: the longest spellings in use take five."""

_TOLERANCE = {
    ir.DataType.BFLOAT16: 1e-2,
    ir.DataType.FLOAT16: 1e-3,
    ir.DataType.FLOAT: 3e-6,
    ir.DataType.DOUBLE: 1e-9,
}
"""How far a constant rounded to a type, or products of two such, may be off (relative)."""


@dataclass(frozen=True)
class Ramp:
    """The map ``y = min(max(scale·x + shift, low), high)``."""

    scale: float = 1.0
    shift: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    def then(self, outer: Ramp) -> Ramp:
        """This map followed by another; ``outer.scale`` must not be zero."""
        ends = sorted(end * outer.scale + outer.shift for end in (self.low, self.high))
        low, high = (min(max(end, outer.low), outer.high) for end in ends)
        scale, shift = self.scale * outer.scale, self.shift * outer.scale + outer.shift
        return Ramp(scale, shift, low, high)

    @property
    def saturates(self) -> bool:
        """Whether it is bounded on both sides and rises."""
        return math.isfinite(self.low) and math.isfinite(self.high) and self.scale > 0

    def is_hard_sigmoid(self, dtype: ir.DataType | None, height: float = 1.0) -> bool:
        """Whether it is ``height·min(max(scale·x + 1/2, 0), 1)`` up to rounding to a type."""
        ends = close(self.high, height, dtype) and abs(self.low) <= _slack(dtype) * abs(height)
        return self.saturates and ends and close(self.shift, height / 2, dtype)


@dataclass(frozen=True)
class Stop:
    """A place on the way up from a value: ``value`` there, and the map from it down."""

    value: ir.Value
    ramp: Ramp
    nodes: tuple[ir.Node, ...]


class Walker:
    """Walks up from values; knows ranks, so that no step can change a shape."""

    def __init__(self, model: ir.Model) -> None:
        self._layouts = Layouts(model)

    def up(self, value: ir.Value, *, alone: bool = True) -> list[Stop]:
        """All places from which ``value`` is a ramp, itself first.

        With ``alone``, the walk ends at the first value that others read too.
        """
        stops = [Stop(value, Ramp(), ())]
        while len(stops) < _LONGEST:
            last = stops[-1]
            node = last.value.producer()
            step = None if node is None else self._step(node)
            if node is None or step is None:
                break
            source, ramp = step
            stops.append(Stop(source, ramp.then(last.ramp), (node, *last.nodes)))
            producer = source.producer()
            same_graph = producer is not None and producer.graph is node.graph
            if not same_graph or (alone and only_consumer(source) is None):
                break
        return stops

    def factor(self, node: ir.Node | None, value: ir.Value) -> float | None:
        """The number by which a Mul or Div multiplies ``value``, or None where it does not."""
        if node is None or not is_op(node, "Mul", "Div"):
            return None
        step = self._step(node)
        return step[1].scale if step is not None and step[0] is value else None

    def _step(self, node: ir.Node) -> tuple[ir.Value, Ramp] | None:
        if node.domain or not node.inputs or any(a.is_ref() for a in node.attributes.values()):
            return None
        read = _UNARY.get(node.op_type)
        source = node.inputs[0]
        if read is not None and source is not None:
            ramp = read(node)
            return None if ramp is None else (source, ramp)
        if node.op_type in _BINARY and len(node.inputs) == 2:
            return self._binary(node)
        return None

    def _binary(self, node: ir.Node) -> tuple[ir.Value, Ramp] | None:
        left, right = node.inputs
        if left is None or right is None or is_constant(left) == is_constant(right):
            return None
        swapped = is_constant(left)
        source, operand = (right, left) if swapped else (left, right)
        number = _number(operand)
        ramp = None if math.isnan(number) else _binary_ramp(node.op_type, number, swapped)
        if ramp is None:
            return None
        rank = self._layouts[operand].rank
        if rank is None or rank > (self._layouts[source].rank or 0):
            return None
        return source, ramp


def close(actual: float, wanted: float, dtype: ir.DataType | None) -> bool:
    """Whether two numbers are equal up to rounding to a type."""
    return abs(actual - wanted) <= _slack(dtype) * abs(wanted)


def _slack(dtype: ir.DataType | None) -> float:
    return _TOLERANCE.get(dtype or ir.DataType.FLOAT, 0.0)


def _clip(node: ir.Node) -> Ramp | None:
    ends = [attribute(node, "min", -math.inf), attribute(node, "max", math.inf)]
    low, high = (float(str(end)) for end in ends)
    bounds = [*node.inputs[1:], None, None]
    if bounds[0] is not None:
        low = _number(bounds[0])
    if bounds[1] is not None:
        high = _number(bounds[1])
    return None if math.isnan(low + high) else Ramp(low=low, high=high)


def _hard_sigmoid(node: ir.Node) -> Ramp | None:
    alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    line = _line(float(str(alpha)), float(str(beta)))
    return None if line is None else line.then(Ramp(low=0.0, high=1.0))


def _binary_ramp(op_type: str, number: float, swapped: bool) -> Ramp | None:
    if op_type == "Div":
        return None if swapped or number == 0 else _line(1 / number, 0.0)
    if op_type == "Sub":
        return _line(-1.0, number) if swapped else _line(1.0, -number)
    if op_type == "Mul":
        return _line(number, 0.0)
    if op_type == "Add":
        return _line(1.0, number)
    return Ramp(low=number) if op_type == "Max" else Ramp(high=number)


def _line(scale: float, shift: float) -> Ramp | None:
    usable = scale != 0 and math.isfinite(scale) and math.isfinite(shift)
    return Ramp(scale, shift) if usable else None


def _number(value: ir.Value) -> float:
    """A constant of one float element; NaN where it is anything else."""
    tensor = ir.convenience.get_const_tensor(value) if is_constant(value) else None
    if tensor is None or tensor.size != 1 or not tensor.dtype.is_floating_point():
        return math.nan
    return float(tensor.numpy().astype("float64").item())


_UNARY: Mapping[str, Callable[[ir.Node], Ramp | None]] = {
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "Identity": lambda node: Ramp(),
    "Neg": lambda node: _line(-1.0, 0.0),
    "Relu": lambda node: Ramp(low=0.0),
}
_BINARY = frozenset({"Add", "Div", "Max", "Min", "Mul", "Sub"})
