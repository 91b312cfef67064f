"""Arithmetic, comparisons, logic and casts, entry by entry with broadcasting."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from onnx_ir import DataType

from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value
from onnxopt.distill.bridge.tensors import torch_type

Builder = Callable[[Site], Function]


def plain(function: Function) -> Builder:
    """A builder for an op without attributes."""
    return lambda site: function


def variadic(function: Callable[[Any, Any], Any]) -> Builder:
    """A builder for an op that takes any number of inputs, two at a time."""
    return lambda site: lambda *values: functools.reduce(function, values)


def _mean(*values: Value) -> Value:
    return functools.reduce(operator.add, values) / len(values)


def _divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    if a.is_floating_point() or a.is_complex():
        return a / b
    return torch.div(a, b, rounding_mode="trunc")


def _power(site: Site) -> Function:
    fixed = site.fixed(1)
    if fixed is not None and fixed.numel() == 1 and fixed.dim() == 0:
        exponent = fixed.item()
        return lambda x, y: torch.pow(x, exponent).to(x.dtype)
    if fixed is not None:
        return lambda x, y: torch.pow(x, fixed).to(x.dtype)
    return lambda x, y: torch.pow(x, y).to(x.dtype)


def _modulo(site: Site) -> Function:
    function: Function = torch.fmod if site.attr("fmod", 0) else torch.remainder
    return function


def _is_infinite(site: Site) -> Function:
    negative, positive = site.attr("detect_negative", 1), site.attr("detect_positive", 1)
    function: Function = torch.isneginf if negative else torch.isposinf
    if negative and positive:
        function = torch.isinf
    elif not negative and not positive:
        return lambda x: torch.zeros_like(x, dtype=torch.bool)
    return function


def _shift(site: Site) -> Function:
    left = site.text("direction", "LEFT") == "LEFT"
    function: Function = torch.bitwise_left_shift if left else torch.bitwise_right_shift
    return function


def _clip(site: Site) -> Function:
    low, high = site.number(1, "min"), site.number(2, "max")

    def run(*values: Value) -> Value:
        least, most = low(values), high(values)
        if least is None and most is None:
            return values[0]
        return torch.clamp(values[0], least, most)

    return run


def _cast(site: Site) -> Function:
    kind = torch_type(site.attr("to"))
    if kind is None or "float8" in str(kind):
        raise UnsupportedError(f"its type {DataType(site.attr('to')).name} carries no gradients")
    return lambda x: x.to(kind)


def _cast_like(site: Site) -> Function:
    return lambda x, like: x.to(like.dtype)


def _where(condition: Value, x: Value, y: Value) -> Value:
    return torch.where(condition, x, y)


OPS: Mapping[tuple[str, str], Builder] = {
    **{
        ("", name): plain(function)
        for name, function in {
            "Abs": torch.abs,
            "Acos": torch.acos,
            "Acosh": torch.acosh,
            "Add": torch.add,
            "And": torch.logical_and,
            "Asin": torch.asin,
            "Asinh": torch.asinh,
            "Atan": torch.atan,
            "Atanh": torch.atanh,
            "BitwiseAnd": torch.bitwise_and,
            "BitwiseNot": torch.bitwise_not,
            "BitwiseOr": torch.bitwise_or,
            "BitwiseXor": torch.bitwise_xor,
            "Ceil": torch.ceil,
            "Cos": torch.cos,
            "Cosh": torch.cosh,
            "Det": torch.linalg.det,
            "Div": _divide,
            "Equal": torch.eq,
            "Erf": torch.erf,
            "Exp": torch.exp,
            "Floor": torch.floor,
            "Greater": torch.gt,
            "GreaterOrEqual": torch.ge,
            "IsNaN": torch.isnan,
            "Less": torch.lt,
            "LessOrEqual": torch.le,
            "Log": torch.log,
            "Mul": torch.mul,
            "Neg": torch.neg,
            "Not": torch.logical_not,
            "Or": torch.logical_or,
            "Reciprocal": torch.reciprocal,
            "Round": torch.round,
            "Sign": torch.sign,
            "Sin": torch.sin,
            "Sinh": torch.sinh,
            "Sqrt": torch.sqrt,
            "Sub": torch.sub,
            "Tan": torch.tan,
            "Where": _where,
            "Xor": torch.logical_xor,
        }.items()
    },
    ("", "BitShift"): _shift,
    ("", "Cast"): _cast,
    ("", "CastLike"): _cast_like,
    ("", "Clip"): _clip,
    ("", "IsInf"): _is_infinite,
    ("", "Max"): variadic(torch.maximum),
    ("", "Mean"): plain(_mean),
    ("", "Min"): variadic(torch.minimum),
    ("", "Mod"): _modulo,
    ("", "Pow"): _power,
    ("", "Sum"): variadic(torch.add),
}
