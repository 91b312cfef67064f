"""The products of a quantized model, in integers or not, and the float ones they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.comparing import scaling
from onnxopt.graph import (
    Editor,
    attribute,
    constant,
    is_op,
    label,
    rewrite_constant,
)
from onnxopt.transform import Note
from onnxopt_passes._bias import added_row, bias_adder
from onnxopt_passes.quantize._units import output_axis

Array = npt.NDArray[Any]
PRODUCTS = ("Conv", "Gemm", "MatMul")
_BIAS_CODES = 2.0**30
_TOP_7, _TOP_8 = 63, 127
_BIAS = 2
_MATRIX = 2
_ZERO = 2


@dataclass(frozen=True, eq=False)
class Layer:
    """A Conv, Gemm or MatMul with a constant weight, and its twin in the float model.

    Attributes:
        node: The node in the quantized model.
        twin: The node in the float model.
        weight: The float weight in the quantized model's units.
        out_scale: What the twin's outputs are to be divided by, float64 [channels] or [].
        adder: The Add that gives a MatMul its bias; None where there is none.
        twin_row: What the twin's Add adds, float64 [channels] or []; zero where there is none.
        float_bias: Whether the target wants biases in float beside weights in codes.
    """

    node: ir.Node
    twin: ir.Node
    weight: Array
    out_scale: Array
    adder: ir.Node | None
    twin_row: Array
    float_bias: bool = False

    @property
    def in_codes(self) -> bool:
        """Whether its weight is in codes."""
        return _holder(self.node) is not self.node.inputs[1]

    @property
    def source(self) -> ir.Value:
        """What it reads."""
        return _input(self.node, 0)

    @property
    def codes(self) -> ir.Value:
        """The constant that holds the weight, or its codes."""
        return _holder(self.node)

    @property
    def axis(self) -> int:
        """The output channels' axis of the weight."""
        return output_axis(self.node) % self.weight.ndim

    @property
    def channel_axis(self) -> int:
        """The channels' axis of what it computes."""
        return 1 if self.node.op_type == "Conv" else -1

    def shaped(self, row: Array) -> Array:
        """Numbers [channels] or [], shaped to broadcast against what it computes."""
        if self.node.op_type != "Conv" or not row.ndim:
            return row
        return row.reshape(-1, *[1] * (self.weight.ndim - 2))

    @property
    def group(self) -> int:
        """Number of groups of a Conv; 1 for others."""
        return int(str(attribute(self.node, "group", 1))) if self.node.op_type == "Conv" else 1

    @property
    def top(self) -> int:
        """The greatest code its weight may have: that of 8 bits, or of 7 where it has no more."""
        codes = np.abs(np.asarray(constant(self.codes), np.int32))
        return _TOP_7 if codes.max(initial=0) <= _TOP_7 else _TOP_8

    @property
    def scales(self) -> npt.NDArray[np.float32]:
        """The weight's scales, float32 [channels]."""
        scale = constant(_maker(self.node, 1).inputs[1])
        count = self.weight.shape[self.axis]
        found = np.broadcast_to(np.asarray(scale, np.float32).reshape(-1), (count,))
        made: npt.NDArray[np.float32] = found
        return made

    def grouped(self, weight: Array) -> Array:
        """A weight as float64 [groups, outputs of a group, inputs of a group]."""
        first = np.moveaxis(weight.astype(np.float64), self.axis, 0)
        return first.reshape(self.group, first.shape[0] // self.group, -1)

    def ungrouped(self, weight: Array) -> Array:
        """The inverse of ``grouped``."""
        shape = list(self.weight.shape)
        outputs = shape.pop(self.axis)
        return np.moveaxis(weight.reshape(outputs, *shape), 0, self.axis)

    def real(self) -> Array:
        """What the weight or its codes mean, ``grouped``."""
        codes = constant(self.codes)
        if not self.in_codes:
            return self.grouped(np.asarray(codes))
        spread = self.scales.astype(np.float64).reshape(self.group, -1, 1)
        return self.grouped(np.asarray(codes)) * spread

    def set_codes(self, codes: Array) -> None:
        """Put other codes, or numbers, in place of the weight's; ``grouped``."""
        old = constant(self.codes)
        rewrite_constant(self.codes, self.ungrouped(codes).astype(np.asarray(old).dtype))

    def bias(self) -> Array:
        """The bias, float64 [channels]; zeros where there is none."""
        count = self.weight.shape[self.axis]
        value = self._bias_value()
        if value is None:
            return np.zeros(count)
        maker = value.producer()
        if maker is not None and is_op(maker, "DequantizeLinear"):
            codes, scale = constant(maker.inputs[0]), constant(maker.inputs[1])
            shifted = np.asarray(codes, np.float64) - _zero_point(maker)
            found = shifted * np.asarray(scale, np.float64)
        else:
            found = np.asarray(constant(value), np.float64)
        return np.broadcast_to(found.reshape(-1), (count,))

    def set_bias(self, bias: Array, editor: Editor) -> str | None:
        """Round a bias to where it is kept; a reason where that cannot be."""
        value = self._bias_value()
        if value is None:
            return self._add_bias(bias, editor)
        maker = value.producer()
        if maker is None or not is_op(maker, "DequantizeLinear"):
            old = constant(value)
            if old is None or len(value.uses()) > 1 or old.size != bias.size:
                return "its bias is shared with other nodes"
            rewrite_constant(value, bias.reshape(old.shape).astype(old.dtype))
            return None
        codes, scale = maker.inputs[0], constant(maker.inputs[1])
        if codes is None or scale is None or len(codes.uses()) > 1 or len(value.uses()) > 1:
            return "its bias is shared with other nodes"
        old = constant(codes)
        if old is None or old.dtype != np.int32 or old.size != bias.size:
            return "its bias has too few codes"
        made = np.rint(bias / np.asarray(scale, np.float64)).reshape(old.shape)
        kept = np.where(np.abs(made) > _BIAS_CODES, old, made)  # of a channel that is all but dead
        rewrite_constant(codes, kept.astype(np.int32))
        return None

    def has_plain_bias(self) -> bool:
        """Whether its bias, if any, is constant with one number a channel."""
        value = self._bias_value()
        if value is None:
            return True
        maker = value.producer()
        read = maker is not None and is_op(maker, "DequantizeLinear")
        array = constant(maker.inputs[0] if maker is not None and read else value)
        return array is not None and array.size in (1, self.weight.shape[self.axis])

    def can_set_bias(self) -> bool:
        """Whether there is a place for a bias."""
        return self.node.op_type != "MatMul" or self.adder is not None

    def _bias_value(self) -> ir.Value | None:
        if self.node.op_type == "MatMul":
            if self.adder is None:
                return None
            return added_row(self.adder, self.node)
        return self.node.inputs[_BIAS] if len(self.node.inputs) > _BIAS else None

    def _add_bias(self, bias: Array, editor: Editor) -> str | None:
        if self.node.op_type == "MatMul":
            return "it has no bias to correct"
        if not self.in_codes or self.float_bias:
            value = editor.constant(self.node, f"{label(self.node)}/bias", bias.astype(np.float32))
            self.node.resize_inputs(_BIAS + 1)
            self.node.replace_input_with(_BIAS, value)
            return None
        activation = constant(_maker(self.node, 0).inputs[1])
        if activation is None or activation.size != 1:
            return "it has no bias to correct"
        scales = self.scales * np.float32(activation.reshape(()))
        codes = np.rint(bias / scales.astype(np.float64))
        if (np.abs(codes) > _BIAS_CODES).any():
            return "the corrected bias would overflow"
        name = f"{label(self.node)}/bias"
        inputs = [
            editor.constant(self.node, f"{name}/q", codes.astype(np.int32)),
            editor.constant(self.node, f"{name}/scale", scales),
            editor.constant(self.node, f"{name}/zero_point", np.zeros(scales.shape, np.int32)),
        ]
        real = editor.insert_before(
            self.node, "DequantizeLinear", inputs, name, {"axis": 0}, origin=[self.node]
        )
        real.type, real.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(scales.shape)
        self.node.resize_inputs(_BIAS + 1)
        self.node.replace_input_with(_BIAS, real)
        return None


def find_layers(
    model: ir.Model, teacher: ir.Model, float_bias: bool = False
) -> Iterator[Layer | Note]:
    """The layers of a quantized model in graph order, and notes on those without a twin.

    Args:
        model: The quantized model.
        teacher: The float one.
        float_bias: Whether a bias that comes new stays in float.
    """
    outputs = {out.name: node for node in teacher.graph for out in node.outputs if out.name}
    known = scaling.between(teacher, model)
    for node in model.graph:
        if not is_op(node, *PRODUCTS) or not _has_weight(node):
            continue
        name = (node.outputs[0].name or "").removesuffix("/raw")
        twin = outputs.get(name)
        if twin is None or twin.op_type != node.op_type:
            yield Note.refused(node, f"the original model does not make {name} the same way")
            continue
        found = _layer(node, twin, known)
        if isinstance(found, Layer):
            yield replace(found, float_bias=float_bias)
        else:
            yield Note.refused(node, found)


def _layer(node: ir.Node, twin: ir.Node, known: Mapping[str, scaling.ChannelScale]) -> Layer | str:
    weight = constant(twin.inputs[1])
    codes = constant(_holder(node))
    if weight is None or codes is None or weight.shape != codes.shape:
        return "its weight is not that of the original model"
    if len(_holder(node).uses()) > 1 or len(_input(node, 1).uses()) > 1:
        return "its weight is shared with other nodes"
    if _holder(node) is not node.inputs[1] and _zero_point(_maker(node, 1)).any():
        return "its weight's codes are not symmetric"
    axis = output_axis(node) % weight.ndim
    group = int(str(attribute(node, "group", 1))) if node.op_type == "Conv" else 1
    source = known.get((_input(node, 0).name or "").removesuffix("/dq"))
    made = known.get(twin.outputs[0].name or "")
    out_scale: Array = np.ones(()) if made is None else made.scale
    scaled = weight.astype(np.float64)
    if made is not None:
        shape = [1] * weight.ndim
        shape[axis] = -1
        scaled = scaled / made.scale.reshape(shape)
    if source is not None:
        scaled = scaled * _spread_inputs(source.scale, scaled.shape, axis, group)
    adder = bias_adder(node)
    row = np.zeros(()) if adder is None else _row_of(bias_adder(twin), twin)
    found = Layer(node, twin, scaled, out_scale, adder, row)
    return found if found.has_plain_bias() else "its bias is not constant, or not one a channel"


def _spread_inputs(scale: Array, shape: tuple[int, ...], axis: int, group: int) -> Array:
    """Scales of the input channels, shaped like a weight with these output channels' axis."""
    if len(shape) == _MATRIX:
        return scale.reshape((-1, 1) if axis == 1 else (1, -1))
    per_group = scale.reshape(group, -1)
    rows = np.repeat(per_group, shape[0] // group, axis=0)
    return rows.reshape(shape[0], shape[1], *[1] * (len(shape) - 2))


def _has_weight(node: ir.Node) -> bool:
    """Whether input 1 is a constant, or one in int8 codes."""
    holder = _holder(node) if len(node.inputs) > 1 and node.inputs[1] is not None else None
    codes = constant(holder)
    if codes is None or codes.dtype not in (np.int8, np.float32):
        return False
    return node.op_type == "Conv" or (codes.ndim == _MATRIX and _is_plain(node))


def _is_plain(node: ir.Node) -> bool:
    """Whether a Gemm is a product and a bias and nothing else."""
    factors = [float(str(attribute(node, name, 1.0))) for name in ("alpha", "beta")]
    return not attribute(node, "transA", 0) and factors == [1.0, 1.0]


def _holder(node: ir.Node) -> ir.Value:
    """The constant that holds a node's weight or its codes."""
    weight = _input(node, 1)
    maker = weight.producer()
    if maker is None or not is_op(maker, "DequantizeLinear"):
        return weight
    return _input(maker, 0)


def _zero_point(maker: ir.Node) -> Array:
    """The zero point of a DequantizeLinear, float64 [channels] or []."""
    zero = constant(maker.inputs[_ZERO]) if len(maker.inputs) > _ZERO else None
    return np.zeros(()) if zero is None else zero.astype(np.float64)


def _row_of(adder: ir.Node | None, node: ir.Node) -> Array:
    array = None if adder is None else constant(added_row(adder, node))
    return np.zeros(()) if array is None else array.astype(np.float64).reshape(-1)


def _maker(node: ir.Node, place: int) -> ir.Node:
    maker = _input(node, place).producer()
    if maker is None:
        raise ValueError(f"input {place} of {label(node)} is not made by a node")
    return maker


def _input(node: ir.Node, place: int) -> ir.Value:
    value = node.inputs[place]
    if value is None:
        raise ValueError(f"{label(node)} has no input {place}")
    return value
