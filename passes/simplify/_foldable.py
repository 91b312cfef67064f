"""Which nodes may be computed ahead of time."""

from __future__ import annotations

from collections.abc import Container

import onnx
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt_passes.simplify._determinism import Determinism

QDQ = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
"""Kept as they are: a quantized weight has to stay recognisable, and small."""

SIZED_BY_VALUES = frozenset(
    {
        "BlackmanWindow",
        "CenterCropPad",
        "Col2Im",
        "ConstantOfShape",
        "DFT",
        "Expand",
        "HammingWindow",
        "HannWindow",
        "MaxUnpool",
        "MelWeightMatrix",
        "OneHot",
        "Pad",
        "Range",
        "Resize",
        "STFT",
        "Tile",
        "Upsample",
    }
)
"""The numbers these read, not the sizes of their inputs, say how large their outputs are."""

_MOVES_BITS = frozenset(
    {
        "Compress",
        "Concat",
        "ConstantOfShape",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "Pad",
        "Reshape",
        "ReverseSequence",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Trilu",
        "Unsqueeze",
        "Where",
    }
)
_NARROW_FLOATS = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


def foldable(
    node: ir.Node, version: int, determinism: Determinism, computed: Container[ir.Value]
) -> bool:
    """Whether a node is deterministic, of the ONNX standard, and reads nothing but constants.

    Args:
        node: The node.
        version: The opset version in force where it stands.
        determinism: Of its model.
        computed: Values that will be computed too.
    """
    if node.domain or node.op_type in QDQ or node.op_type == "Constant":
        return False
    if any(attr.is_ref() for attr in node.attributes.values()):
        return False
    constant = all(v is None or v in computed or edit.is_constant(v) for v in node.inputs)
    if not constant or not determinism.of(node, version) or not _makes_tensors(node, version):
        return False
    return not (node.op_type == "Identity" and node.inputs[0] not in computed)


def rounds_apart(node: ir.Node, dtype: ir.DataType) -> bool:
    """Whether ONNX Runtime's result for 16-bit floats depends on what surrounds the node.

    Its CPU kernels compute these in 32 bits and skip the rounding between neighbours, so a node
    evaluated alone differs in the last bits unless it only moves them.
    """
    return dtype in _NARROW_FLOATS and node.op_type not in _MOVES_BITS


def _makes_tensors(node: ir.Node, version: int) -> bool:
    """Whether the standard knows the op, with outputs that can be tensors."""
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError:
        return False
    kinds = [str(t) for out in schema.outputs for t in out.types]
    return any(kind.startswith("tensor(") for kind in kinds)
