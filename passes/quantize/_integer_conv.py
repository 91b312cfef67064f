"""Dense Convs that are computed in integers, as a model in QDQ form spells them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import attribute, constant, is_op

_ZERO_POINT = 2
_ENDS = ("Relu", "Clip")


@dataclass(frozen=True, eq=False)
class IntegerConv:
    """A dense Conv that reads codes of one scale, with a weight in codes that nothing else reads.

    Attributes:
        node: The Conv.
        source: What it reads.
        parameters: Codes, scale and zero point that this is made of.
        reader: The DequantizeLinear of its weight.
        codes: The constant that holds the weight's codes.
        weight: These codes.
    """

    node: ir.Node
    source: ir.Value
    parameters: tuple[ir.Value, ir.Value, ir.Value]
    reader: ir.Node
    codes: ir.Value
    weight: np.ndarray


def integer_conv(node: ir.Node) -> IntegerConv | None:
    """What there is to know about a Conv, where it is one with weights whose zero point is 0."""
    if not is_op(node, "Conv") or attribute(node, "group", 1) != 1:
        return None
    source, real = node.inputs[:2]
    first, reader = (None if v is None else v.producer() for v in (source, real))
    if source is None or first is None or not is_op(first, "DequantizeLinear"):
        return None
    if reader is None or not is_op(reader, "DequantizeLinear") or len(first.inputs) <= _ZERO_POINT:
        return None
    codes, scale, zero = first.inputs[:3]
    point = constant(zero)
    if codes is None or scale is None or zero is None or point is None or point.ndim:
        return None
    held, weight = reader.inputs[0], constant(reader.inputs[0])
    if held is None or weight is None or not _is_symmetric(reader):
        return None
    if any(len(value.uses()) > 1 or value.is_graph_output() for value in (held, *reader.outputs)):
        return None
    return IntegerConv(node, source, (codes, scale, zero), reader, held, weight)


def _is_symmetric(reader: ir.Node) -> bool:
    """Whether a code of 0 means 0: by the zero point, and by a scale that times 0 gives that."""
    zero = reader.inputs[_ZERO_POINT] if len(reader.inputs) > _ZERO_POINT else None
    point, scale = constant(zero), constant(reader.inputs[1])
    if scale is not None and not np.isfinite(scale.astype(np.float64)).all():
        return False
    return zero is None or (point is not None and not point.any())


def writes_codes(node: ir.Node) -> bool:
    """Whether all that reads a Conv puts it into codes: its kernel is an integer one."""
    readers = [use.node for use in node.outputs[0].uses()]
    if len(readers) == 1 and is_op(readers[0], *_ENDS):
        readers = [use.node for use in readers[0].outputs[0].uses()]
    return bool(readers) and all(is_op(reader, "QuantizeLinear") for reader in readers)
