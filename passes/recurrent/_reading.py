"""Reading the arguments of operators that moved from attributes to inputs over the opsets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import attribute, constant

_FAR = 2**31 - 1
"""Bounds of a Slice at least this far out mean "to the end"."""

Resolve = Callable[[ir.Value], ir.Value]
Read = Callable[[ir.Value], tuple[int, ...] | None]
"""The numbers of an integer tensor, where they are known."""


@dataclass(frozen=True)
class Cut:
    """A Slice along one axis; ``stop`` is None where it runs to the end."""

    axis: int
    start: int
    stop: int | None
    step: int

    @property
    def reverses(self) -> bool:
        """Whether it gives the whole axis backwards."""
        return self.step == -1 and self.start in (-1, _FAR) and self.stop is None

    @property
    def keeps_all(self) -> bool:
        """Whether it gives the whole axis as it is."""
        return self.step == 1 and self.start == 0 and self.stop is None

    @property
    def single(self) -> int | None:
        """The one position it takes; None where it may take more."""
        if self.step != 1:
            return None
        last = self.start == -1 and self.stop is None
        return self.start if last or self.stop == self.start + 1 else None


def ints(value: ir.Value | None) -> tuple[int, ...] | None:
    """The numbers of a constant integer tensor, flattened."""
    array = constant(value) if value is not None else None
    if array is None or array.dtype.kind not in "iu" or array.size > 4096:
        return None
    return tuple(int(number) for number in array.ravel())


def attribute_ints(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """An attribute of integers (or one), as a tuple; None where absent or not known."""
    attr = node.attributes.get(name)
    if attr is None or attr.is_ref():
        return None
    return tuple(attr.as_ints()) if attr.type == ir.AttributeType.INTS else (attr.as_int(),)


def number(node: ir.Node, name: str, default: float) -> float:
    """A numeric attribute."""
    return float(str(attribute(node, name, default)))


def whole(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute."""
    return int(str(attribute(node, name, default)))


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """An input, None where it is left out."""
    return node.inputs[index] if len(node.inputs) > index else None


def axes_of(node: ir.Node, read: Read) -> tuple[int, ...] | None:
    """The axes of a Squeeze, Unsqueeze or reduction: attribute or second input."""
    given = operand(node, 1)
    return read(given) if given is not None else attribute_ints(node, "axes")


def sizes_of(node: ir.Node, read: Read) -> tuple[int, ...] | None:
    """The sizes of a Split where they are stated."""
    given = operand(node, 1)
    return read(given) if given is not None else attribute_ints(node, "split")


def cut_of(node: ir.Node, read: Read) -> Cut | None:
    """A Slice with constant bounds that cuts along exactly one axis."""
    if len(node.inputs) > 1:
        given = [operand(node, index) for index in range(1, 5)]
        known = [None if value is None else read(value) for value in given]
        if any(v is not None and k is None for v, k in zip(given, known, strict=True)):
            return None
        starts, stops, axes, steps = known
    else:
        starts, stops = attribute_ints(node, "starts"), attribute_ints(node, "ends")
        axes, steps = attribute_ints(node, "axes"), None
    if starts is None or stops is None or len(starts) != len(stops):
        return None
    axes, steps = axes or tuple(range(len(starts))), steps or (1,) * len(starts)
    if not len(starts) == len(axes) == len(steps):
        return None
    cuts = [_cut(*bounds) for bounds in zip(axes, starts, stops, steps, strict=True)]
    cutting = [cut for cut in cuts if not cut.keeps_all] or cuts
    return cutting[0] if len(cutting) == 1 else None


def _cut(axis: int, start: int, stop: int, step: int) -> Cut:
    endless = stop >= _FAR if step > 0 else stop <= -_FAR
    return Cut(axis, min(start, _FAR), None if endless else stop, step)


def stacked_axis(node: ir.Node) -> int | None:
    """The new axis, 0 or 1, along which a node stacks the matrices of a sequence."""
    if node.domain or node.op_type != "ConcatFromSequence" or whole(node, "new_axis", 0) != 1:
        return None
    axis = whole(node, "axis", 0)
    axis += 3 * (axis < 0)
    return axis if axis <= 1 else None


def split_source(node: ir.Node | None, resolve: Resolve) -> ir.Value | None:
    """What a node splits into the positions of one axis, the axis dropped.

    With ``keepdims=0`` ONNX Runtime drops the axis also where a scalar size of 1 is given.
    """
    if node is None or node.domain or node.op_type != "SplitToSequence":
        return None
    size = operand(node, 1)
    size = None if size is None else resolve(size)
    scalar = size is None or (ints(size) == (1,) and constant_rank(size) == 0)
    return node.inputs[0] if scalar and whole(node, "keepdims", 1) == 0 else None


def constant_rank(value: ir.Value) -> int | None:
    """The rank of a constant."""
    array = constant(value)
    return None if array is None else array.ndim
