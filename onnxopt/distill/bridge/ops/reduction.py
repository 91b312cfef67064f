"""Reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from onnxopt.distill.bridge.ops.elementwise import Builder
from onnxopt.distill.bridge.site import Function, Site, Value

Reduction = Callable[[Value, tuple[int, ...], bool], Value]


def _reduce(function: Reduction) -> Builder:
    def build(site: Site) -> Function:
        keep = bool(site.attr("keepdims", 1))
        idle = bool(site.attr("noop_with_empty_axes", 0))
        read = site.ints(1, "axes")

        def run(*values: Value) -> Value:
            x, axes = values[0], read(values)
            if not axes:
                axes = () if idle else tuple(range(x.dim()))
            return function(x, axes, keep)

        return run

    return build


def _unless_idle(function: Reduction) -> Reduction:
    """Without axes nothing is reduced, where torch would reduce all."""
    return lambda x, axes, keep: function(x, axes, keep) if axes else x


def _sum(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return x.sum(axes, keepdim=keep, dtype=x.dtype) if axes else x


def _mean(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    if x.is_floating_point():
        return x.mean(axes, keepdim=keep)
    return x.double().mean(axes, keepdim=keep).to(x.dtype)


def _product(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _extreme(function: Reduction, neutral: float) -> Reduction:
    def run(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
        if x.numel():
            return function(x, axes, keep)
        if not x.is_floating_point():
            return x.sum(axes, keepdim=keep, dtype=x.dtype)
        return torch.full_like(x.sum(axes, keepdim=keep), neutral)

    return run


def _log_sum_exp(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return torch.logsumexp(x if x.is_floating_point() else x.double(), axes, keep).to(x.dtype)


def _l2(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    squares = _sum(x * x, axes, keep)
    return squares.sqrt() if x.is_floating_point() else squares.double().sqrt().to(x.dtype)


def _arg(function: Callable[..., Value]) -> Builder:
    def build(site: Site) -> Function:
        axis, keep = site.attr("axis", 0), bool(site.attr("keepdims", 1))
        if not site.attr("select_last_index", 0):
            return lambda x: function(x, axis, keepdim=keep)
        return lambda x: x.shape[axis] - 1 - function(x.flip(axis), axis, keepdim=keep)

    return build


OPS: Mapping[tuple[str, str], Builder] = {
    ("", "ArgMax"): _arg(torch.argmax),
    ("", "ArgMin"): _arg(torch.argmin),
    ("", "ReduceL1"): _reduce(lambda x, axes, keep: _sum(x.abs(), axes, keep)),
    ("", "ReduceL2"): _reduce(_l2),
    ("", "ReduceLogSum"): _reduce(lambda x, axes, keep: _sum(x, axes, keep).log()),
    ("", "ReduceLogSumExp"): _reduce(_unless_idle(_log_sum_exp)),
    ("", "ReduceMax"): _reduce(_unless_idle(_extreme(torch.amax, -math.inf))),
    ("", "ReduceMean"): _reduce(_unless_idle(_mean)),
    ("", "ReduceMin"): _reduce(_unless_idle(_extreme(torch.amin, math.inf))),
    ("", "ReduceProd"): _reduce(_product),
    ("", "ReduceSum"): _reduce(_sum),
    ("", "ReduceSumSquare"): _reduce(lambda x, axes, keep: _sum(x * x, axes, keep)),
}
