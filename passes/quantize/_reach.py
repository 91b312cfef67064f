"""The numbers that a function of one operand can reach, from the numbers the operand can be.

An operand in codes has a least and a greatest number, so the range of such a function follows
without measuring its output.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from onnxopt.calibrate import Range
from onnxopt.graph import attribute, is_op
from onnxopt_passes.quantize._lines import line_of

_HARD_SWISH_DIP = -1.5  # where x * clip(x / 6 + 1 / 2, 0, 1) is least


def reach(node: ir.Node, operand: tuple[float, float]) -> Range:
    """The range of a node's output for an operand between two numbers."""
    low, high = operand
    match node.op_type:
        case "HardSigmoid":
            return Range(0.0, 1.0)
        case "HardSwish":
            least = min(max(low, _HARD_SWISH_DIP), 0.0)
            return Range(_hard_swish(least), _hard_swish(high))
        case "Sigmoid":
            return Range(_sigmoid(low), _sigmoid(high))
        case "LeakyRelu":
            slope = attribute(node, "alpha", 0.01)
            least = low * slope if low < 0 and isinstance(slope, float) else low
            return Range(min(least, 0.0), max(least, high))
        case _:
            line = line_of(node)
            return Range(line.slope * low + line.offset, line.slope * high + line.offset)


def follows_operand(node: ir.Node) -> bool:
    """Whether ``reach`` knows a node's function, lines apart."""
    return is_op(node, "HardSigmoid", "HardSwish", "Sigmoid", "LeakyRelu")


def _hard_swish(x: float) -> float:
    return x * min(max(x / 6.0 + 0.5, 0.0), 1.0)


def _sigmoid(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * x))
