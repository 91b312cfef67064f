"""HardSigmoid and HardSwish in integers.

    hard_sigmoid(x) = clip(a x + b, 0, 1)        one Add: the codes of x, read with scale a s_x,
                                                 plus b; the output's codes span [0, 1] and saturate
    hard_swish(x)   = x hard_sigmoid(x)          one Mul more

Over all codes this is at most one code of the output away from the exact function.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxopt.calibrate import Range
from onnxopt.graph import attribute, is_op
from onnxopt_passes.quantize._numbers import Encoding
from onnxopt_passes.quantize._qdq import QdqWriter, Quantized

_INFINITY = float("inf")


def is_hard(node: ir.Node) -> bool:
    """Whether a node is one of the two."""
    return is_op(node, "HardSigmoid", "HardSwish")


def readable_range(node: ir.Node) -> Range:
    """The part of x that matters to a node: beyond it the result saturates or is 0."""
    slope, offset = _line(node)
    low, high = -offset / slope, (1.0 - offset) / slope
    return Range(low, high) if node.op_type == "HardSigmoid" else Range(low, _INFINITY)


def spell(qdq: QdqWriter, node: ir.Node, x: Quantized, gate_encoding: Encoding) -> ir.Value:
    """Put the integer form of a node in its place; returns its output, under the old name."""
    slope, offset = _line(node)
    out = node.outputs[0]
    name = out.name or ""
    scaled = qdq.read_scaled(x, slope, node, f"{name}/slope")
    number = qdq.number(node, offset, gate_encoding, f"{name}/offset")
    is_gate = node.op_type == "HardSigmoid"
    gate_name = name if is_gate else f"{name}/gate"
    result = qdq.editor.insert_before(node, "Add", [scaled, number], gate_name, origin=[node])
    result.type, result.shape = out.type, out.shape
    if not is_gate:
        gate = qdq.quantize(result, gate_encoding, node)
        factors = [x.real, gate.real]
        result = qdq.editor.insert_before(node, "Mul", factors, f"{name}/product", origin=[node])
    qdq.editor.replace(out, result)
    qdq.editor.sweep(node)
    return result


def _line(node: ir.Node) -> tuple[float, float]:
    """Slope and offset of the line that is clipped."""
    if node.op_type == "HardSwish":
        return 1.0 / 6.0, 0.5
    slope, offset = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    if not isinstance(slope, float) or not isinstance(offset, float):
        raise TypeError("alpha and beta of a HardSigmoid are numbers")
    return slope, offset
