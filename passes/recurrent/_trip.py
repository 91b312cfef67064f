"""How often a Loop runs, and which position each iteration looks at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import constant, is_op
from onnxopt_passes.recurrent._reading import ints, operand
from onnxopt_passes.recurrent._sizes import Size, Sizes
from onnxopt_passes.recurrent._states import Refusal
from onnxopt_passes.recurrent._trace import Trace

_ENDLESS = 2**31 - 1
"""Trip counts from here on are no counts: the condition ends the loop."""

_COMPARISONS = {"Less": (0, 1, 0), "LessOrEqual": (0, 1, 1), "Greater": (1, 0, 0)} | {
    "GreaterOrEqual": (1, 0, 1)
}
"""Positions of the smaller and the larger operand, and what equality adds to the bound."""


@dataclass(frozen=True)
class Position:
    """``sign·iteration + offset``, plus a size where there is one."""

    sign: int
    offset: int
    size: Size | None = None


@dataclass(frozen=True)
class Trip:
    """The number of iterations: a size, and the scalar that holds it where there is one."""

    size: Size
    value: ir.Value | None


class Iterations:
    """The index values of one Loop's body."""

    def __init__(self, trace: Trace, node: ir.Node, body: ir.Graph) -> None:
        self._trace, self._node, self._body = trace, node, body
        self._sizes = Sizes(trace.resolve, trace.forms)
        self._counters = dict(self._find_counters())

    def position(self, value: ir.Value) -> Position | None:
        """The position that an index value stands for in each iteration."""
        offset, sign = 0, 1
        for _ in range(8):
            value = self._trace.resolve(value)
            if value in self._counters:
                return Position(sign, offset + sign * self._counters[value])
            node = value.producer()
            if node is None or node.graph is not self._body:
                return None
            if is_op(node, "Cast", "Squeeze", "Unsqueeze") and node.inputs[0] is not None:
                value = node.inputs[0]
                continue
            step = self._added(node)
            if step is None:
                return self._from_end(node, offset) if sign == 1 else None
            value, number = step
            offset += number
        return None

    def trip(self) -> Trip:
        """How often the loop runs.

        Raises:
            Refusal: The condition may end the loop at a moment that is not known.
        """
        count, condition = operand(self._node, 0), operand(self._node, 1)
        known = None if count is None else self._sizes.element(count)
        if isinstance(known, int) and known >= _ENDLESS:
            known = None
        size, exact = known, known is not None
        inner = self._body.outputs[0]
        bounds = list(self._bounds(inner)) if inner is not None else []
        for first, bound in bounds:
            size = bound if size is None else size
            if bound != size or first > 1:
                raise Refusal("its condition compares with something else than its trip count")
            exact = exact or first == 1
        if size is None or not exact:
            raise Refusal("the number of its iterations is not known")
        if condition is not None:
            self._check_start(condition, size, counted=known is not None)
        return Trip(size, count if known is not None else None)

    def _find_counters(self) -> Iterator[tuple[ir.Value, int]]:
        yield self._body.inputs[0], 0
        for k in range(2, len(self._node.inputs)):
            value, start = self._body.inputs[k], self._node.inputs[k]
            numbers = None if start is None else ints(self._trace.resolve(start))
            out = self._body.outputs[k - 1]
            node = None if out is None else self._trace.resolve(out).producer()
            step = None if node is None else self._added(node)
            if numbers is not None and len(numbers) == 1 and step == (value, 1):
                yield value, numbers[0]

    def _added(self, node: ir.Node) -> tuple[ir.Value, int] | None:
        """``(v, n)`` of ``v + n`` or ``v - n``."""
        if not is_op(node, "Add", "Sub") or None in node.inputs or len(node.inputs) != 2:
            return None
        left, right = (self._trace.resolve(v) for v in node.inputs if v is not None)
        for value, other in ((left, right), (right, left)):
            numbers = ints(other)
            if numbers is not None and len(numbers) == 1:
                if is_op(node, "Add"):
                    return value, numbers[0]
                return (value, -numbers[0]) if other is right else None
        return None

    def _from_end(self, node: ir.Node, offset: int) -> Position | None:
        """``size - iteration + n``."""
        if not is_op(node, "Sub") or None in node.inputs:
            return None
        minuend, index = (self._trace.resolve(v) for v in node.inputs if v is not None)
        found = self.position(index)
        if found is None or found.sign != 1 or found.size is not None:
            return None
        numbers = ints(minuend)
        if numbers is None:
            made = minuend.producer()
            step = None if made is None else self._added(made)
            minuend, shift = (minuend, 0) if step is None else step
            size = self._sizes.element(minuend)
            return Position(-1, offset + shift - found.offset, size)
        return Position(-1, offset - found.offset, numbers[0]) if len(numbers) == 1 else None

    def _bounds(self, condition: ir.Value) -> Iterator[tuple[int, Size]]:
        """``(k, n)`` for each part ``iteration + k < n`` of the body's condition.

        Raises:
            Refusal: A part of the condition is something else.
        """
        pending = [condition]
        while pending:
            value = self._trace.resolve(pending.pop())
            node, known = value.producer(), constant(value)
            if value is self._body.inputs[1] or (known is not None and bool(np.all(known))):
                continue
            if node is not None and is_op(node, "And", "Cast"):
                pending += [source for source in node.inputs if source is not None]
                continue
            bound = self._bound(node)
            if bound is None:
                raise Refusal("its condition is computed from more than its index")
            yield bound

    def _bound(self, node: ir.Node | None) -> tuple[int, Size] | None:
        if node is None or node.op_type not in _COMPARISONS or node.domain:
            return None
        small, large, equal = _COMPARISONS[node.op_type]
        left, right = node.inputs[small], node.inputs[large]
        if left is None or right is None:
            return None
        index = self.position(left)
        if index is None or index.sign != 1 or index.size is not None:
            return None
        return index.offset - equal, self._sizes.element(right)

    def _check_start(self, condition: ir.Value, size: Size, *, counted: bool) -> None:
        """The first condition has to hold wherever there is something to do."""
        pending = [condition]
        while pending:
            value = self._trace.resolve(pending.pop())
            node, known = value.producer(), constant(value)
            if known is not None and bool(np.all(known)):
                if counted:
                    continue
                raise Refusal("its first iteration runs even where there is nothing to do")
            if node is not None and is_op(node, "And", "Cast"):
                pending += [source for source in node.inputs if source is not None]
                continue
            if not self._starts(node, size):
                raise Refusal("whether its first iteration runs is not known")

    def _starts(self, node: ir.Node | None, size: Size) -> bool:
        """Whether a comparison says that a number up to zero lies below the size."""
        if node is None or node.op_type not in _COMPARISONS or node.domain:
            return False
        small, large, equal = _COMPARISONS[node.op_type]
        left, right = node.inputs[small], node.inputs[large]
        if left is None or right is None or equal:
            return False
        number = constant(self._trace.resolve(left))
        zero = number is not None and number.size == 1 and float(number.reshape(())) == 0.0
        return zero and self._sizes.element(right) == size
