"""Rounding to codes with gradients that pass straight through."""

from __future__ import annotations

import math
from typing import Any

import torch

from onnxopt.distill.bridge.site import Value


class _Round(torch.autograd.Function):  # type: ignore[misc]
    """Rounds to the nearest, ties to even; the gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Value) -> Value:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, gradient: Value) -> Value:
        return gradient


class _Codes(torch.autograd.Function):  # type: ignore[misc]
    """clip(round(x/s) + z) for a fixed scale; gradients pass where nothing is clipped."""

    @staticmethod
    def forward(ctx: Any, x: Value, scale: Value, zero: Value, low: int, high: int) -> Value:
        codes = torch.div(x, scale).round_()
        if zero is not None:
            codes.add_(zero)
        kept = codes.clamp(low, high)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(kept == codes, scale)
        return kept

    @staticmethod
    def backward(ctx: Any, gradient: Value) -> Any:
        inside, scale = ctx.saved_tensors
        return torch.div(gradient, scale).mul_(inside), None, None, None, None


class _Slowed(torch.autograd.Function):  # type: ignore[misc]
    """The identity; the gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Value, factor: float) -> Value:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Value) -> Any:
        return gradient * ctx.factor, None


def round_through(x: Value) -> Value:
    """Round with a straight-through gradient (Bengio et al., 2013)."""
    return _Round.apply(x)


def to_codes(x: Value, scale: Value, zero: Value, low: int, high: int) -> Value:
    """clip(round(x/s) + z, low, high) as floats.

    A scale that wants a gradient gets that of LSQ (Esser et al., 2020).

    Args:
        x: Real numbers.
        scale: Broadcasts over ``x``.
        zero: Zero point that broadcasts over ``x``, as floats; None for 0.
        low: The least code.
        high: The greatest code.
    """
    if not scale.requires_grad:
        return _Codes.apply(x, scale, zero, low, high)
    if zero is None:
        return round_through(torch.clamp(x / scale, low, high))
    ratio = torch.maximum(torch.minimum(x / scale, high - zero), low - zero)
    return round_through(ratio) + zero


def learned(scale: Value, entries: float, high: int) -> Value:
    """The scale with its gradient multiplied by 1/√(entries·high), LSQ's normaliser.

    Args:
        scale: Any shape.
        entries: Numbers that share one scale.
        high: The greatest code.
    """
    if not scale.requires_grad:
        return scale
    factor = 1 / math.sqrt(max(entries, 1) * max(high, 1))
    return _Slowed.apply(scale, factor)


def dynamic_codes(x: Value) -> tuple[Value, Value, Value]:
    """DynamicQuantizeLinear: uint8 codes over the range of a tensor and 0."""
    low, high = (x.detach().amin(), x.detach().amax()) if x.numel() else (x.new_zeros(()),) * 2
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = torch.round(-low / scale).clamp(0, 255)
    return to_codes(x, scale, zero, 0, 255), scale, zero.to(torch.uint8)
