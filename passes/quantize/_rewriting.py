"""Turns chosen nodes into integer ones: Q/DQ around them, codes for their weights and biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.calibrate import Range, Statistics
from onnxopt.graph import constant, is_constant
from onnxopt.targets import Int8Scheme
from onnxopt_passes.quantize._calibrated import output_rank
from onnxopt_passes.quantize._float_outputs import keep_kernel, leaves_float
from onnxopt_passes.quantize._hard_sigmoid import is_hard, readable_range, spell
from onnxopt_passes.quantize._lines import encoding_for_lines, line_of, read_line
from onnxopt_passes.quantize._numbers import (
    Encoding,
    activation_encoding,
    encode,
    least_weight_scales,
    quantize_bias,
    quantize_weight,
    unit_encoding,
    weight_scales,
)
from onnxopt_passes.quantize._qdq import Codes, QdqWriter, Quantized, let_read
from onnxopt_passes.quantize._reach import follows_operand, reach
from onnxopt_passes.quantize._units import Unit, output_axis

_BIAS = 2


class Rewriter:
    """Rewrites the chosen units of one model, given in graph order.

    Args:
        model: The model, edited in place.
        scheme: The target's integers.
        chosen: The units to rewrite.
        ranges: The range to represent, by tensor name.
        statistics: For the tensors' ranks.
    """

    def __init__(
        self,
        model: ir.Model,
        scheme: Int8Scheme,
        chosen: Sequence[Unit],
        ranges: Mapping[str, Range],
        statistics: Statistics,
    ) -> None:
        self._qdq = QdqWriter(model)
        self._scheme = scheme
        self._ranges = dict(ranges)
        self._statistics = statistics
        self._lines = {unit.node for unit in chosen if unit.kernel.shares_codes}
        self._readers = integer_readers(chosen)
        self._bounds = readable_bounds(chosen, self._readers)
        self._quantized: dict[ir.Value, Quantized] = {}
        self._weights: dict[tuple[ir.Value | None, bytes], ir.Value] = {}
        for unit in chosen:
            self._rewrite(unit)
        for made in self._quantized.values():
            dequantize = made.real.producer()
            if dequantize is not None:
                self._qdq.editor.sweep(dequantize)

    def _rewrite(self, unit: Unit) -> None:
        node, axes = unit.node, output_rank(unit, self._statistics)
        operands = [self._operand(value) for value in unit.inputs]
        if node in self._lines or follows_operand(node):
            found = reach(node, operands[0].encoding.numbers())
            self._ranges[unit.outputs[0].name or ""] = found
        if is_hard(node):
            gate = unit_encoding(self._scheme)
            result = spell(self._qdq, node, operands[0], gate)
            only_gate = node.op_type == "HardSigmoid"
            self._output(result, gate if only_gate else self._encoding(result), is_whole=True)
            return
        if node in self._lines and self._read_line(node, operands[0]):
            return
        for place, made in zip(unit.operands, operands, strict=True):
            node.replace_input_with(place, made.real)
        self._constant_operands(unit)
        if unit.weight is not None:
            self._parameters(unit, operands[0].encoding)
        if leaves_float(unit, self._readers, axes):
            keep_kernel(self._qdq.editor, unit, axes)
            return
        for out in unit.outputs:
            self._result(unit, out, operands[0].encoding)

    def _result(self, unit: Unit, out: ir.Value, operand: Encoding) -> None:
        """Put an output into codes, with the encoding that its unit's kind asks for."""
        if unit.kernel.shares_scale:
            self._output(out, operand, is_whole=True)
        else:
            self._output(out, self._encoding(out), is_whole=not self._is_cut(out))

    def _read_line(self, node: ir.Node, x: Quantized) -> bool:
        """Read the codes of x as the line of x that a node is; False where that is not exact."""
        encoding = read_line(x.encoding, line_of(node))
        if encoding is None:
            return False
        made = self._qdq.reread(x, encoding, node)
        self._qdq.editor.replace(node.outputs[0], made.real)
        self._qdq.editor.sweep(node)
        self._quantized[made.real] = made
        return True

    def _operand(self, value: ir.Value) -> Quantized:
        """The codes of an activation that the unit reads."""
        made = self._quantized.get(value)
        if made is None:
            reader = self._readers[value][0].node
            made = self._qdq.quantize(value, self._encoding(value), reader)
            self._quantized[value] = made
        return made

    def _output(self, out: ir.Value, encoding: Encoding, *, is_whole: bool) -> None:
        """Put an output into codes and let everybody read those."""
        producer = out.producer()
        assert producer is not None
        made = self._qdq.quantize(out, encoding, producer)
        self._qdq.take_over(out, made, rename=is_whole)
        self._quantized[made.real] = made

    def _constant_operands(self, unit: Unit) -> None:
        if unit.kernel.operands != "all":
            return
        for place, value in enumerate(unit.node.inputs):
            array = constant(value) if place not in unit.operands else None
            if array is None:
                continue
            found = Range(float(array.min(initial=0.0)), float(array.max(initial=0.0)))
            encoding = activation_encoding(found, self._scheme)
            codes = Codes(
                encode(array.astype(np.float64), encoding),
                np.array(encoding.scale, np.float32),
                np.array(encoding.zero_point, encoding.integer),
            )
            self._qdq.replace_constant(unit.node, place, codes)

    def _parameters(self, unit: Unit, activation: Encoding) -> None:
        node, axis = unit.node, output_axis(unit.node)
        weight = float_constant(node, 1)
        in_codes = self._scheme.bias == "int32" and _has_bias(node)
        bias = float_constant(node, _BIAS) if in_codes else None
        least = 0.0 if bias is None else least_weight_scales(bias.reshape(-1), activation)
        scales = weight_scales(weight, axis, self._scheme, least)
        self._weight(node, weight, axis % weight.ndim, scales)
        if bias is not None:
            products = scales * np.float32(activation.scale)
            codes = quantize_bias(bias.reshape(-1), products)
            self._qdq.replace_constant(node, _BIAS, self._codes(codes, products, 0))

    def _weight(
        self,
        node: ir.Node,
        weight: npt.NDArray[np.floating],
        axis: int,
        scales: npt.NDArray[np.float32],
    ) -> None:
        key = (node.inputs[1], bytes([axis]) + scales.tobytes())
        if key in self._weights:
            let_read(self._qdq.editor, node, 1, self._weights[key])
            return
        codes = quantize_weight(weight, axis, scales, self._scheme)
        made = self._qdq.replace_constant(node, 1, self._codes(codes, scales, axis))
        self._weights[key] = made

    def _codes(
        self, codes: npt.NDArray[np.generic], scales: npt.NDArray[np.float32], axis: int
    ) -> Codes:
        if not self._scheme.per_channel:
            scales = scales[:1].reshape(())
        return Codes(codes, scales, np.zeros(scales.shape, codes.dtype), axis)

    def _encoding(self, value: ir.Value) -> Encoding:
        found, bound = self._ranges[value.name or ""], self._bounds.get(value)
        if bound is not None:
            found = Range(max(found.low, bound.low), min(found.high, bound.high))
        return encoding_for_lines(value, found, self._scheme, self._lines)

    def _is_cut(self, value: ir.Value) -> bool:
        found, bound = self._ranges[value.name or ""], self._bounds.get(value)
        return bound is not None and (found.low < bound.low or found.high > bound.high)


def integer_readers(chosen: Sequence[Unit]) -> dict[ir.Value, list[Unit]]:
    """The chosen units that read each activation."""
    readers: dict[ir.Value, list[Unit]] = {}
    for unit in chosen:
        for value in unit.inputs:
            readers.setdefault(value, []).append(unit)
    return readers


def readable_bounds(
    chosen: Sequence[Unit], readers: Mapping[ir.Value, Sequence[Unit]]
) -> dict[ir.Value, Range]:
    """The part of a tensor's range that any of its readers can tell apart, where less than all.

    Of a tensor made in float only the integer readers count: the others read the tensor itself.
    """
    made = {out for unit in chosen for out in unit.outputs}
    bounds: dict[ir.Value, Range] = {}
    for value in dict.fromkeys([*readers, *made]):
        if value in made and value.is_graph_output():
            continue
        uses = [use.node for use in value.uses()]
        nodes = uses if value in made else [unit.node for unit in readers[value]]
        if not nodes or not all(map(is_hard, nodes)):
            continue
        found = [readable_range(node) for node in nodes]
        bounds[value] = Range(min(r.low for r in found), max(r.high for r in found))
    return bounds


def _has_bias(node: ir.Node) -> bool:
    return len(node.inputs) > _BIAS and is_constant(node.inputs[_BIAS])


def float_constant(node: ir.Node, place: int) -> npt.NDArray[np.floating]:
    """A constant input of a node, as float32."""
    array = constant(node.inputs[place])
    if array is None:
        raise ValueError(f"input {place} of {node.name} is not constant")
    return array.astype(np.float32)
