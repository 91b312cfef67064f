"""MatMul and Gemm by constant weights, whose activations are quantized as they come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, constant_tensor, label, only_consumer, record_origin
from onnxopt.targets import Int8Scheme
from onnxopt.transform import Note
from onnxopt_passes.fuse._linear import Linear, read_linear
from onnxopt_passes.fuse._shape import Layouts
from onnxopt_passes.quantize._numbers import quantize_weight, weight_scales
from onnxopt_passes.quantize._qdq import let_read

FIRST_OPSET = 11
_SCHEME = Int8Scheme(activation="uint8")
_LONGEST = (2**31 - 1) // (255 * 127)


@dataclass(frozen=True)
class _Codes:
    """An activation as it comes out of DynamicQuantizeLinear."""

    codes: ir.Value
    scale: ir.Value
    zero_point: ir.Value


class DynamicLinears:
    """Rewrites the linear layers of one model."""

    def __init__(self, model: ir.Model, least: int) -> None:
        self._editor = Editor(model)
        self._layouts = Layouts(model)
        self._least = least
        self._activations: dict[tuple[ir.Value, int], _Codes] = {}
        self._weights: dict[tuple[ir.Value, int, bool, float], tuple[ir.Value, ir.Value]] = {}

    def rewrite(self, node: ir.Node, version: int) -> Note | None:
        """Quantize a MatMul or Gemm; None where there is nothing to say."""
        weights = constant_tensor(node.inputs[1]) if len(node.inputs) > 1 else None
        found = read_linear(node, self._layouts)
        if found is None or (weights is not None and weights.size < self._least):
            return None
        if isinstance(found, str):
            return Note.refused(node, found)
        reason = self._obstacle(found, version)
        if reason is not None:
            return Note.refused(node, reason)
        name, (rows, columns) = label(node), found.shape
        self._replace(found)
        return Note.applied(name, f"{rows}x{columns} weights in int8, activations as they come")

    def _obstacle(self, found: Linear, version: int) -> str | None:
        """Why a layer stays in float."""
        rows, _ = found.shape
        if version < FIRST_OPSET:
            return f"DynamicQuantizeLinear needs opset {FIRST_OPSET}: raise-opset first"
        if found.weight.dtype != ir.DataType.FLOAT:
            return f"integers for {found.weight.dtype} weights are not known to be fast"
        if rows > _LONGEST:
            return f"sums of {rows} products could overflow int32"
        if not np.isfinite(found.matrix()).all():
            return "its weights hold NaN or infinity"
        beta = attribute(found.node, "beta", 1.0)
        if beta != 1.0 and isinstance(found.bias(), str):
            return "its bias is not constant and has a factor"
        return None

    def _replace(self, found: Linear) -> None:
        node, name = found.node, label(found.node)
        x, weight = self._quantized(found), self._coded(found)
        codes, scales = weight
        inputs = [x.codes, codes, x.zero_point]
        sums = self._insert(node, "MatMulInteger", inputs, f"{name}/int")
        real = self._insert(node, "Cast", [sums], f"{name}/float", {"to": 1})
        scale = self._insert(node, "Mul", [x.scale, scales], f"{name}/scale")
        product = self._insert(node, "Mul", [real, scale], f"{name}/scaled")
        old = node.outputs[0]
        if node.op_type == "Gemm":
            product = self._with_gemm_bias(found, product)
        else:
            self._flatten_bias(found)
        self._editor.replace(old, product)
        self._editor.sweep(node)

    def _quantized(self, found: Linear) -> _Codes:
        """The codes of the layer's input, made once in a graph."""
        node, x = found.node, found.node.inputs[0]
        if x is None:
            raise ValueError(f"{label(node)} has no input")
        key = (x, id(node.graph))
        if key not in self._activations:
            self._activations[key] = self._quantize(node, x)
        return self._activations[key]

    def _quantize(self, anchor: ir.Node, x: ir.Value) -> _Codes:
        names = [self._editor.fresh(f"{x.name}/{part}") for part in ("q", "scale", "zero_point")]
        node = ir.Node("", "DynamicQuantizeLinear", [x], num_outputs=3, name=names[0])
        types = (ir.DataType.UINT8, ir.DataType.FLOAT, ir.DataType.UINT8)
        shapes = (x.shape, ir.Shape(()), ir.Shape(()))
        for out, name, dtype, shape in zip(node.outputs, names, types, shapes, strict=True):
            out.name, out.type, out.shape = name, ir.TensorType(dtype), shape
        record_origin(node, [anchor])
        if anchor.graph is None:
            raise ValueError(f"{label(anchor)} belongs to no graph")
        anchor.graph.insert_before(anchor, node)
        return _Codes(*node.outputs)

    def _coded(self, found: Linear) -> tuple[ir.Value, ir.Value]:
        """Codes [K, N] and scales [N] of the layer's weights, made once for equal readings."""
        node, weight = found.node, found.node.inputs[1]
        alpha = float(str(attribute(node, "alpha", 1.0)))
        if weight is None:
            raise ValueError(f"{label(node)} has no weights")
        key = (weight, id(node.graph), found.transposed, alpha)
        if key not in self._weights:
            matrix, name = found.matrix(), weight.name or label(node)
            scales = weight_scales(matrix, 1, _SCHEME)
            codes = quantize_weight(matrix, 1, scales, _SCHEME)
            self._weights[key] = (
                self._editor.constant(node, f"{name}/q", codes),
                self._editor.constant(node, f"{name}/scale", scales),
            )
        return self._weights[key]

    def _with_gemm_bias(self, found: Linear, product: ir.Value) -> ir.Value:
        node = found.node
        given = node.inputs[2] if len(node.inputs) > 2 else None
        if given is None:
            return product
        bias = found.bias()
        if not isinstance(bias, str):
            name = f"{given.name}/row"
            given = self._editor.constant(node, name, bias.astype(np.float32))
        product.shape = node.outputs[0].shape
        return self._insert(node, "Add", [product, given], f"{label(node)}/biased")

    def _flatten_bias(self, found: Linear) -> None:
        """Give the bias one axis of all columns, as the fused kernel takes it."""
        node, adder = found.node, only_consumer(found.node.outputs[0])
        bias = found.bias()
        if found.adder is None or adder is not found.adder or isinstance(bias, str):
            return
        place = 1 if adder.inputs[0] is node.outputs[0] else 0
        given = adder.inputs[place]
        if given is None or (given.shape is not None and tuple(given.shape) == bias.shape):
            return
        row = self._editor.constant(adder, f"{given.name}/row", bias.astype(np.float32))
        let_read(self._editor, adder, place, row)

    def _insert(
        self,
        node: ir.Node,
        op_type: str,
        inputs: list[ir.Value],
        name: str,
        attributes: dict[str, int] | None = None,
    ) -> ir.Value:
        value = self._editor.insert_before(
            node, op_type, inputs, name, dict(attributes or {}), origin=[node]
        )
        integer = op_type == "MatMulInteger"
        value.type = ir.TensorType(ir.DataType.INT32 if integer else ir.DataType.FLOAT)
        return value
