"""Whether a model holds integer arithmetic of its own, and of which kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal

import onnx_ir as ir

from onnxopt.graph import all_nodes, is_constant
from onnxopt.transform import Note

Format = Literal["QDQ", "QOperator", "dynamic", "weight-only"]
_QOPERATOR = ("QLinear", "QGemm", "QAttention", "QEmbed", "QMoE")
_WEIGHTS = frozenset({"MatMulNBits", "MatMulBnb4", "GatherBlockQuantized", "MatMulFpQ4"})
_DYNAMIC = frozenset(
    """
    ConvInteger DynamicQuantizeLinear DynamicQuantizeLSTM DynamicQuantizeMatMul MatMulInteger
    MatMulInteger16 MatMulIntegerToFloat
    """.split()  # noqa: SIM905 - readable
)


def quantized_formats(model: ir.Model) -> dict[Format, int]:
    """The formats of integer arithmetic in a model with how many nodes have each, most first."""
    found = Counter(kind for node in all_nodes(model) if (kind := format_of(node)) is not None)
    return dict(found.most_common())


def already_quantized(model: ir.Model) -> Iterator[Note]:
    """A note where a model has been quantized before; that part of it is left alone."""
    formats = quantized_formats(model)
    if formats:
        kinds = " and ".join(f"{kind} ({count} nodes)" for kind, count in formats.items())
        reason = f"already quantized: {kinds}; dequantize-model makes it float again"
        yield Note.refused(model.graph.name or "model", reason)


def format_of(node: ir.Node) -> Format | None:
    """The format that a node is part of; None for one that computes in floats."""
    if node.op_type in _WEIGHTS:
        return "weight-only"
    if node.op_type in _DYNAMIC:
        return "dynamic"
    if node.op_type.startswith(_QOPERATOR):
        return "QOperator"
    if node.op_type == "QuantizeLinear":
        return "QDQ"
    if node.op_type != "DequantizeLinear":
        return None
    return "weight-only" if _holds_weights(node) else "QDQ"


def _holds_weights(node: ir.Node) -> bool:
    """Whether a DequantizeLinear reads a constant, perhaps rows of it."""
    codes = node.inputs[0]
    producer = None if codes is None else codes.producer()
    if producer is not None and producer.op_type == "Gather":
        codes = producer.inputs[0]
    return is_constant(codes)
