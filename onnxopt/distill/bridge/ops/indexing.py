"""Gathering, scattering, slicing and sorting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from onnxopt.distill.bridge.ops.elementwise import Builder
from onnxopt.distill.bridge.site import Function, Site, Value

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _gather(site: Site) -> Function:
    axis, fixed = site.attr("axis", 0), site.fixed(1)
    if fixed is not None and fixed.numel() == 1 and fixed.dim() == 0:
        place = int(fixed)
        return lambda x, at: x.select(axis, place)

    def run(x: Value, at: Value) -> Value:
        at = _positive(at, x.shape[axis])
        if axis == 0 and x.dim() == 2 and x.is_floating_point():
            return F.embedding(at, x)
        made = x.index_select(axis, at.reshape(-1))
        first = axis % x.dim()
        return made.reshape(*x.shape[:first], *at.shape, *x.shape[first + 1 :])

    return run


def _positive(at: torch.Tensor, size: int) -> torch.Tensor:
    at = at.to(torch.int64)
    return torch.where(at < 0, at + size, at)


def _gather_elements(site: Site) -> Function:
    axis = site.attr("axis", 0)
    return lambda x, at: torch.gather(x, axis, _positive(at, x.shape[axis]))


def _gather_nd(site: Site) -> Function:
    batch = site.attr("batch_dims", 0)

    def run(x: Value, at: Value) -> Value:
        lead = [
            torch.arange(size).reshape([-1 if i == axis else 1 for i in range(at.dim() - 1)])
            for axis, size in enumerate(x.shape[:batch])
        ]
        return x[(*lead, *_places(at, x.shape[batch:]))]

    return run


def _places(at: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
    columns = at.unbind(-1)
    return [_positive(c, size) for c, size in zip(columns, sizes, strict=False)]


def _scatter_elements(site: Site) -> Function:
    axis, reduction = site.attr("axis", 0), site.text("reduction", "none")

    def run(x: Value, at: Value, updates: Value) -> Value:
        places = _positive(at, x.shape[axis])
        if reduction == "none":
            return x.scatter(axis, places, updates)
        return x.scatter_reduce(axis, places, updates, _REDUCTIONS[reduction])

    return run


def _scatter_nd(site: Site) -> Function:
    reduction = site.text("reduction", "none")

    def run(x: Value, at: Value, updates: Value) -> Value:
        places = tuple(_places(at, x.shape))
        if reduction in ("none", "add"):
            return x.index_put(places, updates, accumulate=reduction == "add")
        depth = len(places)
        flat = torch.zeros_like(places[0])
        for size, place in zip(x.shape, places, strict=False):
            flat = flat * size + place
        rows = x.reshape(torch.Size(x.shape[:depth]).numel(), -1)
        pieces = updates.reshape(-1, rows.shape[1])
        target = flat.reshape(-1, 1).expand_as(pieces)
        return rows.scatter_reduce(0, target, pieces, _REDUCTIONS[reduction]).reshape(x.shape)

    return run


def _slice(site: Site) -> Function:
    starts, ends = site.ints(1, "starts"), site.ints(2, "ends")
    axes, steps = site.ints(3, "axes"), site.ints(4)

    def run(*values: Value) -> Value:
        x, first = values[0], starts(values)
        chosen = axes(values)
        chosen = range(len(first)) if chosen is None else chosen
        stride = steps(values) or (1,) * len(first)
        for start, end, axis, step in zip(first, ends(values), chosen, stride, strict=True):
            x = _cut(x, start, end, axis, step)
        return x

    return run


def _cut(x: Value, start: int, end: int, axis: int, step: int) -> Value:
    size = x.shape[axis]
    start, end, step = slice(start, end, step).indices(size)
    if step > 0:
        count = max(end - start, 0)
        made = x.narrow(axis, min(start, size), count)
        return (
            made
            if step == 1
            else made[(slice(None),) * (axis % x.dim()) + (slice(None, None, step),)]
        )
    at = torch.arange(start, end, step) if start > end else torch.empty(0, dtype=torch.int64)
    return x.index_select(axis, at.to(x.device))


def _one_hot(site: Site) -> Function:
    axis = site.attr("axis", -1)

    def run(at: Value, depth: Value, pair: Value) -> Value:
        count = int(depth.item())
        place = axis + at.dim() + 1 if axis < 0 else axis
        indices = at.to(torch.int64)
        indices = torch.where(indices < 0, indices + count, indices).unsqueeze(place)
        shape = [1] * indices.dim()
        shape[place] = -1
        hot = torch.arange(count).reshape(shape) == indices
        return torch.where(hot, pair[1], pair[0])

    return run


def _cumulative(function: Any) -> Builder:
    def build(site: Site) -> Function:
        read = site.number(1)
        exclusive, reverse = site.attr("exclusive", 0), site.attr("reverse", 0)
        neutral = 0 if function is torch.cumsum else 1

        def run(*values: Value) -> Value:
            x, axis = values[0], int(read(values))
            x = x.flip(axis) if reverse else x
            made = function(x, axis, dtype=x.dtype)
            if exclusive:
                first = torch.full_like(made.narrow(axis, 0, 1), neutral)
                made = torch.cat([first, made.narrow(axis, 0, made.shape[axis] - 1)], axis)
            return made.flip(axis) if reverse else made

        return run

    return build


def _top(site: Site) -> Function:
    axis, largest = site.attr("axis", -1), bool(site.attr("largest", 1))
    read = site.number(1, "k")

    def run(*values: Value) -> Value:
        x, count = values[0], int(read(values))
        ordered, at = torch.sort(x, dim=axis, descending=largest, stable=True)
        return ordered.narrow(axis, 0, count), at.narrow(axis, 0, count)

    return run


def _nonzero(site: Site) -> Function:
    return lambda x: torch.nonzero(x).t() if x.dim() else torch.nonzero(x.reshape(1)).t()[:0]


def _compress(site: Site) -> Function:
    axis = site.attr("axis")

    def run(x: Value, keep: Value) -> Value:
        at = torch.nonzero(keep).reshape(-1)
        return x.reshape(-1)[at] if axis is None else x.index_select(axis, at)

    return run


OPS: Mapping[tuple[str, str], Builder] = {
    ("", "Compress"): _compress,
    ("", "CumProd"): _cumulative(torch.cumprod),
    ("", "CumSum"): _cumulative(torch.cumsum),
    ("", "Gather"): _gather,
    ("", "GatherElements"): _gather_elements,
    ("", "GatherND"): _gather_nd,
    ("", "NonZero"): _nonzero,
    ("", "OneHot"): _one_hot,
    ("", "Scatter"): _scatter_elements,
    ("", "ScatterElements"): _scatter_elements,
    ("", "ScatterND"): _scatter_nd,
    ("", "Slice"): _slice,
    ("", "TopK"): _top,
}
