"""Normalizations; BatchNormalization keeps its statistics."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional as F

from onnxopt.distill.bridge.ops.elementwise import Builder
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value

_PER_CHANNEL = 21
"""From this opset, GroupNormalization has a scale a channel instead of one a group."""


def _batch(site: Site) -> Function:
    epsilon = site.attr("epsilon", 1e-5)
    if site.attr("training_mode", 0):
        raise UnsupportedError("it computes statistics of the batch (training_mode=1)")
    if site.opset < 9 and not site.attr("spatial", 1):
        raise UnsupportedError("it has statistics for each place (spatial=0)")

    def run(x: Value, scale: Value, bias: Value, mean: Value, variance: Value) -> Value:
        return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)

    return run


def _instance(site: Site) -> Function:
    epsilon = site.attr("epsilon", 1e-5)
    return lambda x, scale, bias: torch.group_norm(x, x.shape[1], scale, bias, epsilon)


def _group(site: Site) -> Function:
    epsilon, groups = site.attr("epsilon", 1e-5), site.attr("num_groups")
    per_group = site.opset < _PER_CHANNEL

    def run(x: Value, scale: Value, bias: Value) -> Value:
        if per_group:
            times = x.shape[1] // groups
            scale, bias = scale.repeat_interleave(times), bias.repeat_interleave(times)
        return torch.group_norm(x, groups, scale, bias, epsilon)

    return run


def _layer(site: Site) -> Function:
    first, epsilon = site.attr("axis", -1), site.attr("epsilon", 1e-5)
    statistics = site.is_wanted(1) or site.is_wanted(2)

    def run(x: Value, scale: Value = None, bias: Value = None) -> Value:
        sizes = x.shape[first:]
        if statistics:
            return _layer_with_statistics(x, scale, bias, len(sizes), epsilon)
        if scale is None or (scale.shape == sizes and (bias is None or bias.shape == sizes)):
            return F.layer_norm(x, sizes, scale, bias, epsilon)
        made = F.layer_norm(x, sizes, None, None, epsilon) * scale
        return made if bias is None else made + bias

    return run


def _layer_with_statistics(
    x: Value, scale: Value, bias: Value, axes: int, epsilon: float
) -> tuple[Value, Value, Value]:
    dims = tuple(range(-axes, 0))
    mean = x.mean(dims, keepdim=True)
    inverse = torch.rsqrt((x - mean).square().mean(dims, keepdim=True) + epsilon)
    made = (x - mean) * inverse * scale
    return made if bias is None else made + bias, mean, inverse


def _root_mean_square(site: Site) -> Function:
    first, epsilon = site.attr("axis", -1), site.attr("epsilon", 1e-5)

    def run(x: Value, scale: Value) -> Value:
        return F.rms_norm(x, x.shape[first:], None, epsilon) * scale

    return run


def _skip_layer(site: Site) -> Function:
    """com.microsoft SkipLayerNormalization: of the sum of two inputs and a bias."""
    epsilon = site.attr("epsilon", 1e-12)

    def run(x: Value, skip: Value, scale: Value, shift: Value = None, bias: Value = None) -> Value:
        total = x + skip if bias is None else x + skip + bias
        return F.layer_norm(total, total.shape[-1:], scale, shift, epsilon), None, None, total

    return run


def _skip_root_mean_square(site: Site) -> Function:
    epsilon = site.attr("epsilon", 1e-12)

    def run(x: Value, skip: Value, scale: Value, bias: Value = None) -> Value:
        total = x + skip if bias is None else x + skip + bias
        return F.rms_norm(total, total.shape[-1:], None, epsilon) * scale, None, None, total

    return run


def _lp(site: Site) -> Function:
    axis, order = site.attr("axis", -1), site.attr("p", 2)

    def run(x: Value) -> Value:
        norm = x.abs().sum(axis, True) if order == 1 else x.square().sum(axis, True).sqrt()
        return x / torch.where(norm == 0, torch.ones_like(norm), norm)

    return run


def _local_response(site: Site) -> Function:
    size, bias = site.attr("size"), site.attr("bias", 1.0)
    alpha, beta = site.attr("alpha", 1e-4), site.attr("beta", 0.75)
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2

    def run(x: Value) -> Value:
        squares = F.pad(x.square(), [0, 0] * (x.dim() - 2) + [before, after])
        total = squares.unfold(1, size, 1).sum(-1)
        return x / (bias + alpha / size * total).pow(beta)

    return run


def _mean_variance(site: Site) -> Function:
    axes = tuple(site.attr("axes", (0, 2, 3)))

    def run(x: Value) -> Value:
        mean = x.mean(axes, keepdim=True)
        deviation = ((x * x).mean(axes, keepdim=True) - mean * mean).sqrt()
        return (x - mean) / (deviation + 1e-9)

    return run


OPS: Mapping[tuple[str, str], Builder] = {
    ("", "BatchNormalization"): _batch,
    ("", "GroupNormalization"): _group,
    ("", "InstanceNormalization"): _instance,
    ("", "LRN"): _local_response,
    ("", "LayerNormalization"): _layer,
    ("", "LpNormalization"): _lp,
    ("", "MeanVarianceNormalization"): _mean_variance,
    ("", "RMSNormalization"): _root_mean_square,
    ("", "SimplifiedLayerNormalization"): _root_mean_square,
    ("com.microsoft", "SkipLayerNormalization"): _skip_layer,
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): _skip_root_mean_square,
}
