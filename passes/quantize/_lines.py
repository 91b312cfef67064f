"""``y = a x + b`` with numbers a > 0 and b: another reading of the codes of x, for nothing.

    x = s (q - z)   gives   y = a s (q - (z - b / (a s)))

which is exact where ``b / (a s)`` is a whole number and the new zero point is a code. So x gets a
slightly coarser scale ``s = |b| / (a k)`` with k whole, and a range in which y can be 0.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.calibrate import Range
from onnxopt.graph import is_constant, scalar
from onnxopt.targets import Int8Scheme
from onnxopt_passes.quantize._numbers import Encoding, activation_encoding, code_range, to_float32

_WHOLE = 1e-3  # of a code
_COARSER = 1.1  # how much a scale may grow to spare an op


@dataclass(frozen=True)
class Line:
    """``slope * x + offset``."""

    slope: float
    offset: float

    def after(self, other: Line) -> Line:
        """This line of another line of x."""
        return Line(self.slope * other.slope, self.slope * other.offset + self.offset)


def line_of(node: ir.Node) -> Line:
    """The line that an Add, Sub, Mul or Div with one constant number is."""
    number = next(scalar(value) for value in node.inputs if is_constant(value))
    if number is None:
        raise ValueError(f"{node.name} has no constant number")
    match node.op_type:
        case "Add":
            return Line(1.0, number)
        case "Sub":
            return Line(1.0, -number)
        case "Mul":
            return Line(number, 0.0)
        case _:
            return Line(1.0 / number, 0.0)


def encoding_for_lines(
    value: ir.Value, found: Range, scheme: Int8Scheme, lines: Container[ir.Node]
) -> Encoding:
    """An encoding of a value's range whose codes its first offset line can read exactly."""
    line = _first_offset(value, lines)
    if line is None or scheme.symmetric:
        return activation_encoding(found, scheme)
    zero_of_line = -line.offset / line.slope
    wide = Range(min(found.low, zero_of_line), max(found.high, zero_of_line))
    plain = activation_encoding(wide, scheme)
    steps = int(abs(zero_of_line) / plain.scale)
    if steps == 0 or abs(zero_of_line) > _COARSER * steps * plain.scale:
        return activation_encoding(found, scheme)
    scale = to_float32(abs(zero_of_line) / steps)
    low = min(wide.low, 0.0)
    lowest, highest = code_range(scheme.activation)
    zero_point = min(max(round(lowest - low / scale), lowest), highest)
    return Encoding(scale, zero_point, scheme.activation)


def read_line(encoding: Encoding, line: Line) -> Encoding | None:
    """How the codes of x read as the line of x; None where that is not exact."""
    scale = to_float32(line.slope * encoding.scale)
    shift = line.offset / scale
    zero_point = encoding.zero_point - round(shift)
    lowest, highest = code_range(encoding.integer)
    if abs(shift - round(shift)) > _WHOLE or not lowest <= zero_point <= highest:
        return None
    return Encoding(scale, zero_point, encoding.integer)


def _first_offset(value: ir.Value, lines: Container[ir.Node]) -> Line | None:
    """The first line of a value, in reading order, that has an offset."""
    pending = [(value, Line(1.0, 0.0))]
    while pending:
        source, so_far = pending.pop()
        for node in (use.node for use in source.uses()):
            if node not in lines:
                continue
            line = line_of(node).after(so_far)
            if line.offset:
                return line
            pending.append((node.outputs[0], line))
    return None
