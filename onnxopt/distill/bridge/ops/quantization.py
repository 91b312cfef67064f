"""Codes and the real numbers they stand for; codes are held as floats, so that gradients pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir
import torch
from onnx_ir import DataType

from onnxopt.distill.bridge.coded import code_range, coding_of, spread
from onnxopt.distill.bridge.ops.convolution import convolution
from onnxopt.distill.bridge.ops.elementwise import Builder, plain
from onnxopt.distill.bridge.ops.rounding import dynamic_codes, learned, to_codes
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value
from onnxopt.graph import is_op

_TORCH_RANGES = {torch.int8: DataType.INT8, torch.uint8: DataType.UINT8}


def _real(codes: Value, scale: Value, zero: Value) -> Value:
    wide = codes if codes.is_floating_point() else codes.to(scale.dtype)
    if zero is None:
        return wide * scale
    centered = wide - zero
    return centered * scale if scale.requires_grad else centered.mul_(scale)


class _Layout:
    """How scales and zero points lie over a tensor."""

    def __init__(self, site: Site) -> None:
        self._axis, self._block = site.attr("axis", 1), site.attr("block_size", 0)
        self.zero = site.fixed(2)
        self.has_zero = site.has(2)

    def scale(self, scale: Value, like: Value) -> Value:
        """The scale so that it broadcasts."""
        return spread(scale, like, self._axis, self._block)

    def offset(self, zero: Value, like: Value, kind: torch.dtype) -> Value:
        """The zero point so that it broadcasts, as floats; None where it is 0 everywhere."""
        if zero is None or (self.zero is not None and not bool(self.zero.any())):
            return None
        return spread(zero.to(kind), like, self._axis, self._block)


def _kind_of(value: ir.Value | None) -> DataType | None:
    """The declared type, which a constant has in any case."""
    if value is None:
        return None
    held = value.const_value
    return value.dtype if held is None else DataType(held.dtype)


def _quantize(site: Site) -> Function:
    kind = _kind_of(site.node.inputs[2]) if site.has(2) else None
    if kind is None:
        kind = DataType(site.attr("output_dtype", 0) or DataType.UINT8)
        if site.has(2) and (fixed := site.fixed(2)) is not None:
            kind = _TORCH_RANGES.get(fixed.dtype, kind)
    limits = code_range(kind)
    if limits is None:
        raise UnsupportedError(f"its codes are {kind.name}")
    low, high = limits
    layout, of_weight = _Layout(site), _is_weight(site.node.inputs[0])

    def run(x: Value, scale: Value, zero: Value = None) -> Value:
        scale = learned(scale, _entries(x, scale, of_weight), high)
        wide = layout.scale(scale, x).to(x.dtype)
        return to_codes(x, wide, layout.offset(zero, x, x.dtype), low, high)

    return run


def _is_weight(value: ir.Value | None) -> bool:
    return value is not None and (value.is_initializer() or is_op(value.producer(), "Constant"))


def _entries(x: Value, scale: Value, of_weight: bool) -> float:
    """Numbers that share a scale; of activations those of one sample."""
    whole = x.numel() if of_weight or x.dim() == 0 else x.numel() / max(x.shape[0], 1)
    return float(whole / max(scale.numel(), 1))


def _dequantize(site: Site) -> Function:
    source = site.node.inputs[0]
    layout = _Layout(site)
    limits = None if source is None else code_range(_kind_of(source))
    producer = None if source is None else source.producer()
    quantized = producer.inputs[0] if is_op(producer, "QuantizeLinear") and producer else source
    of_weight = _is_weight(quantized)
    high = limits[1] if limits else 127
    latent = source is not None and site.is_weight(0) and coding_of(source) is not None
    low = limits[0] if limits else -128

    def run(x: Value, scale: Value, zero: Value = None) -> Value:
        scale = learned(scale, _entries(x, scale, of_weight), high)
        wide = layout.scale(scale, x)
        offset = layout.offset(zero, x, wide.dtype)
        codes = to_codes(x, wide, offset, low, high) if latent else x
        return _real(codes, wide, offset)

    return run


def _centered(codes: Value, zero: Value, axis: int | None = None) -> Value:
    wide = codes if codes.is_floating_point() else codes.to(torch.float32)
    if zero is None:
        return wide
    offset = zero.to(wide.dtype)
    if offset.numel() == 1:
        return wide - offset.reshape(())
    return wide - (offset if axis is None else spread(offset, wide, axis, 0))


def _integer_conv(site: Site) -> Function:
    base = convolution(site)

    def run(x: Value, w: Value, x_zero: Value = None, w_zero: Value = None) -> Value:
        return base(_centered(x, x_zero), _centered(w, w_zero, 0))

    return run


def _integer_product(a: Value, b: Value, a_zero: Value = None, b_zero: Value = None) -> Value:
    rows = None if a_zero is None or a_zero.dim() != 1 else a.dim() - 2
    return torch.matmul(_centered(a, a_zero, rows), _centered(b, b_zero, b.dim() - 1))


def _requantized(site: Site, at: int, function: Callable[..., Value]) -> Function:
    """Codes of what a function of real numbers gives; scale and zero point are two inputs."""
    limits = code_range(_kind_of(site.node.inputs[at + 1]))
    if limits is None:
        raise UnsupportedError("the type of its codes is not known")

    def run(*values: Value) -> Value:
        made = function(*values)
        scale, zero = values[at].reshape(()), values[at + 1].reshape(()).to(made.dtype)
        return to_codes(made, scale, zero, *limits)

    return run


def _coded_conv(site: Site) -> Function:
    base = convolution(site)

    def real(*values: Value) -> Value:
        x, x_scale, x_zero, w, w_scale, w_zero = values[:6]
        bias = values[8] if len(values) > 8 else None
        inner = x_scale.reshape(())
        if bias is not None:
            bias = bias.to(inner.dtype) * inner * w_scale.reshape(-1)
        weight = _centered(w, w_zero, 0) * spread(w_scale, w, 0, 0)
        return base(_centered(x, x_zero) * inner, weight, bias)

    return _requantized(site, 6, real)


def _coded_product(site: Site) -> Function:
    def real(*values: Value) -> Value:
        a, a_scale, a_zero, b, b_scale, b_zero = values[:6]
        left = _centered(a, a_zero) * a_scale
        return torch.matmul(left, _centered(b, b_zero, b.dim() - 1) * b_scale)

    return _requantized(site, 6, real)


OPS: Mapping[tuple[str, str], Builder] = {
    ("", "ConvInteger"): _integer_conv,
    ("", "DequantizeLinear"): _dequantize,
    ("", "DynamicQuantizeLinear"): plain(dynamic_codes),
    ("", "MatMulInteger"): plain(_integer_product),
    ("", "QLinearConv"): _coded_conv,
    ("", "QLinearMatMul"): _coded_product,
    ("", "QuantizeLinear"): _quantize,
    ("com.microsoft", "DequantizeLinear"): _dequantize,
    ("com.microsoft", "QuantizeLinear"): _quantize,
}
