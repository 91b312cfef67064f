"""Activation functions, the softmax family among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional as F

from onnxopt.distill.bridge.ops.elementwise import Builder, plain
from onnxopt.distill.bridge.site import Function, Site, Value

_MICROSOFT = "com.microsoft"
_COERCED = 13
"""Below this opset, Softmax and its kin work on a matrix."""


def _numbers(function: Callable[..., Any], **defaults: float) -> Builder:
    """A builder for a function of a tensor and of attributes that are numbers."""

    def build(site: Site) -> Function:
        given = {name: site.attr(name, default) for name, default in defaults.items()}
        return lambda x: function(x, **given)

    return build


def hard_sigmoid(x: Value, alpha: float = 0.2, beta: float = 0.5) -> Value:
    """max(0, min(1, αx + β))."""
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def _hard_swish(x: Value) -> Value:
    return F.hardswish(x)


def _selu(x: Value, alpha: float, gamma: float) -> Value:
    return gamma * F.elu(x, alpha)


def _thresholded_relu(x: Value, alpha: float) -> Value:
    return torch.where(x > alpha, x, torch.zeros_like(x))


def _shrink(x: Value, lambd: float, bias: float) -> Value:
    middle = torch.zeros_like(x)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, middle))


def _prelu(x: Value, slope: Value) -> Value:
    return torch.where(x >= 0, x, x * slope)


def _swish(x: Value, alpha: float) -> Value:
    return x * torch.sigmoid(x if alpha == 1 else x * alpha)


def _softplus(x: Value) -> Value:
    return F.softplus(x, threshold=50.0)


def _gelu(site: Site) -> Function:
    approximate = site.text("approximate", "none")
    return lambda x: F.gelu(x, approximate=approximate)


def _fast_gelu(site: Site) -> Function:
    if not site.has(1):
        return lambda x, *rest: F.gelu(x, approximate="tanh")
    return lambda x, bias: F.gelu(x + bias, approximate="tanh")


def _bias_gelu(x: Value, bias: Value) -> Value:
    return F.gelu(x + bias)


def _softmax(function: Callable[[Value, int], Value]) -> Builder:
    def build(site: Site) -> Function:
        if site.opset >= _COERCED:
            axis = site.attr("axis", -1)
            return lambda x: function(x, axis)
        first = site.attr("axis", 1)

        def coerced(x: Value) -> Value:
            split = first + x.dim() if first < 0 else first
            rows = int(torch.Size(x.shape[:split]).numel())
            return function(x.reshape(rows, -1), 1).reshape(x.shape)

        def run(x: Value) -> Value:
            return function(x, -1) if first in (-1, x.dim() - 1) else coerced(x)

        return run

    return build


def _hardmax(x: Value, axis: int) -> Value:
    best = x.argmax(axis, keepdim=True)
    return torch.zeros_like(x).scatter_(axis, best, 1)


OPS: Mapping[tuple[str, str], Builder] = {
    ("", "Celu"): _numbers(F.celu, alpha=1.0),
    ("", "Elu"): _numbers(F.elu, alpha=1.0),
    ("", "Gelu"): _gelu,
    ("", "HardSigmoid"): _numbers(hard_sigmoid, alpha=0.2, beta=0.5),
    ("", "HardSwish"): plain(_hard_swish),
    ("", "Hardmax"): _softmax(_hardmax),
    ("", "LeakyRelu"): lambda site: _leaky(site.attr("alpha", 0.01)),
    ("", "LogSoftmax"): _softmax(torch.log_softmax),
    ("", "Mish"): plain(F.mish),
    ("", "PRelu"): plain(_prelu),
    ("", "Relu"): plain(torch.relu),
    ("", "Selu"): _numbers(_selu, alpha=1.6732632423543772, gamma=1.0507009873554805),
    ("", "Shrink"): _numbers(_shrink, lambd=0.5, bias=0.0),
    ("", "Sigmoid"): plain(torch.sigmoid),
    ("", "Softmax"): _softmax(torch.softmax),
    ("", "Softplus"): plain(_softplus),
    ("", "Softsign"): plain(F.softsign),
    ("", "Swish"): _numbers(_swish, alpha=1.0),
    ("", "Tanh"): plain(torch.tanh),
    ("", "ThresholdedRelu"): _numbers(_thresholded_relu, alpha=1.0),
    (_MICROSOFT, "BiasGelu"): plain(_bias_gelu),
    (_MICROSOFT, "FastGelu"): _fast_gelu,
    (_MICROSOFT, "Gelu"): plain(F.gelu),
    (_MICROSOFT, "QuickGelu"): _numbers(_swish, alpha=1.702),
}


def _leaky(slope: float) -> Function:
    return lambda x: F.leaky_relu(x, slope)
