"""Where layers read their weights, and which axis of a weight is which.

A layer computes ``y[o] = Σ_k w[o, k] x[k]``: ``o`` runs along the weight's output axis, ``k`` along
its reduction axis (and over the taps of a kernel).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import attribute, constant_tensor, is_op

_MICROSOFT = "com.microsoft"
_PLACES: dict[tuple[str, str], tuple[int, ...]] = {
    ("", "Conv"): (1,),
    ("", "ConvInteger"): (1,),
    ("", "ConvTranspose"): (1,),
    ("", "DeformConv"): (1,),
    ("", "GRU"): (1, 2),
    ("", "Gemm"): (0, 1),
    ("", "LSTM"): (1, 2),
    ("", "MatMul"): (0, 1),
    ("", "MatMulInteger"): (0, 1),
    ("", "QLinearConv"): (3,),
    ("", "QLinearMatMul"): (0, 3),
    ("", "RNN"): (1, 2),
    (_MICROSOFT, "DynamicQuantizeLSTM"): (1, 2),
    (_MICROSOFT, "DynamicQuantizeMatMul"): (1,),
    (_MICROSOFT, "FusedConv"): (1,),
    (_MICROSOFT, "FusedGemm"): (0, 1),
    (_MICROSOFT, "FusedMatMul"): (0, 1),
    (_MICROSOFT, "MatMulIntegerToFloat"): (0, 1),
    (_MICROSOFT, "QGemm"): (0, 3),
}
_ZERO_POINTS = {
    "ConvInteger": {1: 3},
    "DequantizeLinear": {0: 2},
    "DynamicQuantizeLSTM": {1: 9, 2: 11},
    "DynamicQuantizeMatMul": {1: 3},
    "MatMulInteger": {0: 2, 1: 3},
    "MatMulIntegerToFloat": {0: 4, 1: 5},
    "QGemm": {0: 2, 3: 5},
    "QLinearConv": {3: 5},
    "QLinearMatMul": {0: 2, 3: 5},
}
_MATRIX = 2
_RECURRENT = ("GRU", "LSTM", "RNN", "DynamicQuantizeLSTM")


@dataclass(frozen=True, eq=False)
class LayerWeight:
    """One place where a layer reads a constant weight.

    Attributes:
        node: The layer.
        place: Of the weight among the node's inputs.
        value: The constant: the weight, or its codes where the layer reads those.
        zero_point: The code that means 0; None where that is 0 or the weight is no code.
        output_axis: Of the weight, not negative.
        reduction_axis: Of the weight, not negative.
    """

    node: ir.Node
    place: int
    value: ir.Value
    zero_point: ir.Value | None
    output_axis: int
    reduction_axis: int

    @property
    def tensor(self) -> ir.TensorProtocol:
        """The weight's tensor."""
        tensor = constant_tensor(self.value)
        if tensor is None:
            raise ValueError(f"{self.value.name} is no constant")
        return tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's sizes."""
        return tuple(self.tensor.shape.numpy())

    @property
    def group(self) -> int:
        """Number of groups of a Conv or ConvTranspose; 1 for others."""
        return int(str(attribute(self.node, "group", 1)))

    @property
    def is_float(self) -> bool:
        """Whether the layer reads the constant itself and it holds floating-point numbers."""
        whole = self.value is self.node.inputs[self.place]
        return whole and self.tensor.dtype.is_floating_point()


def layer_weights(node: ir.Node) -> Iterator[LayerWeight]:
    """The constant weights that a node reads as a layer; none for other nodes.

    Layers are the products with a constant matrix or kernel: Conv, ConvTranspose, Gemm, MatMul,
    LSTM, GRU, RNN, their integer forms, and float ones whose weight a DequantizeLinear gives.
    """
    for place in _PLACES.get((node.domain, node.op_type), ()):
        given = node.inputs[place] if place < len(node.inputs) else None
        value, reader, at = _held(given, node, place)
        tensor = constant_tensor(value)
        if value is None or tensor is None or not _is_weight(tensor):
            continue
        axes = _axes(node, place, len(tensor.shape))
        if axes is not None:
            zero_at = _ZERO_POINTS.get(reader.op_type, {}).get(at)
            zero = reader.inputs[zero_at] if zero_at and zero_at < len(reader.inputs) else None
            yield LayerWeight(node, place, value, zero, *axes)


def _held(
    given: ir.Value | None, node: ir.Node, place: int
) -> tuple[ir.Value | None, ir.Node, int]:
    """A weight's constant, and the node and place that read it: behind a DequantizeLinear too."""
    maker = given.producer() if given is not None else None
    if maker is not None and is_op(maker, "DequantizeLinear"):
        return maker.inputs[0], maker, 0
    return given, node, place


def _is_weight(tensor: ir.TensorProtocol) -> bool:
    return tensor.dtype.is_floating_point() or tensor.dtype.bitwidth <= 8


def _axes(node: ir.Node, place: int, rank: int) -> tuple[int, int] | None:
    """Output and reduction axis of a weight of that rank; None where it has not both."""
    if rank < _MATRIX:
        return None
    if node.op_type in _RECURRENT:
        return (2, 1) if node.op_type == "DynamicQuantizeLSTM" else (1, 2)
    if "Conv" in node.op_type:
        return (1, 0) if node.op_type == "ConvTranspose" else (0, 1)
    is_left = place == 0
    turned = bool(attribute(node, "transA" if is_left else "transB", 0))
    return (rank - 2, rank - 1) if is_left != turned else (rank - 1, rank - 2)
