"""Pools."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch.nn import functional as F

from onnxopt.distill.bridge.ops.convolution import Window, torch_pads
from onnxopt.distill.bridge.ops.elementwise import Builder, plain
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class _Pool:
    """What all pools with a window know."""

    def __init__(self, site: Site) -> None:
        self.kernel = tuple(site.attr("kernel_shape"))
        self.axes = len(self.kernel)
        self.window = Window(site, self.axes)
        self._ceil = bool(site.attr("ceil_mode", 0))
        small = all(
            2 * p <= k for p, k in zip(self.window.symmetric or (), self.kernel, strict=False)
        )
        self.symmetric = self.window.symmetric if small and not self._ceil else None

    def pads(self, size: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """Declared pads, and those with the end moved to where the last window ends."""
        pads = self.window.pads(size, self.kernel)
        extent = self.window.extent(self.kernel)
        ends = []
        for axis, (n, k, s) in enumerate(zip(size, extent, self.window.strides, strict=True)):
            begin, end = pads[axis], pads[axis + self.axes]
            ends.append((self._count(n + begin, end, k, s) - 1) * s + k - n - begin)
        return pads, [*pads[: self.axes], *ends]

    def _count(self, reach: int, end: int, extent: int, stride: int) -> int:
        """Windows along an axis; none starts in the padding at the end."""
        if not self._ceil:
            return (reach + end - extent) // stride + 1
        count = math.ceil((reach + end - extent) / stride) + 1
        return count - 1 if (count - 1) * stride >= reach else count


def _max(site: Site) -> Function:
    pool = _Pool(site)
    if site.is_wanted(1):
        raise UnsupportedError("it gives indices too")
    function, window = _MAX[pool.axes], pool.window

    def run(x: Value) -> Value:
        if pool.symmetric is not None:
            return function(x, pool.kernel, window.strides, pool.symmetric, window.dilations)
        x = F.pad(x, torch_pads(pool.pads(x.shape[2:])[1]), value=-math.inf)
        return function(x, pool.kernel, window.strides, 0, window.dilations)

    def typed(x: Value) -> Value:
        return run(x) if x.is_floating_point() else run(x.float()).to(x.dtype)

    return typed


def _average(site: Site) -> Function:
    pool = _Pool(site)
    counts_pads = bool(site.attr("count_include_pad", 0))
    function, window = _AVERAGE[pool.axes], pool.window
    is_dense = set(window.dilations) == {1}

    def run(x: Value) -> Value:
        if pool.symmetric is not None and is_dense:
            return function(x, pool.kernel, window.strides, pool.symmetric, False, counts_pads)
        declared, whole = pool.pads(x.shape[2:])
        ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
        if counts_pads:
            ones = F.pad(ones, torch_pads(declared), value=1.0)
            rest = [w - d for w, d in zip(whole, declared, strict=True)]
            ones = F.pad(ones, torch_pads(rest))
        else:
            ones = F.pad(ones, torch_pads(whole))
        return _sums(F.pad(x, torch_pads(whole)), pool) / _sums(ones, pool)

    return run


def _sums(x: Value, pool: _Pool) -> Value:
    """Sums over windows."""
    ones = torch.ones((1, 1, *pool.kernel), dtype=x.dtype, device=x.device)
    flat = x.reshape(-1, 1, *x.shape[2:])
    window = pool.window
    made = _CONV[pool.axes](flat, ones, None, window.strides, 0, window.dilations)
    return made.reshape(*x.shape[:2], *made.shape[2:])


def _lp(site: Site) -> Function:
    pool, order = _Pool(site), site.attr("p", 2)

    def run(x: Value) -> Value:
        powers = F.pad(x.abs().pow(order), torch_pads(pool.pads(x.shape[2:])[1]))
        return _sums(powers, pool).pow(1 / order)

    return run


def _spatial(function: Callable[[Value, tuple[int, ...]], Value]) -> Function:
    return lambda x: function(x, tuple(range(2, x.dim())))


def _mean(x: Value, axes: tuple[int, ...]) -> Value:
    return x.mean(axes, keepdim=True)


def _greatest(x: Value, axes: tuple[int, ...]) -> Value:
    return x.amax(axes, keepdim=True)


def _global_lp(site: Site) -> Function:
    order = site.attr("p", 2)
    return _spatial(lambda x, axes: x.abs().pow(order).sum(axes, keepdim=True).pow(1 / order))


OPS: Mapping[tuple[str, str], Builder] = {
    ("", "AveragePool"): _average,
    ("", "GlobalAveragePool"): plain(_spatial(_mean)),
    ("", "GlobalLpPool"): _global_lp,
    ("", "GlobalMaxPool"): plain(_spatial(_greatest)),
    ("", "LpPool"): _lp,
    ("", "MaxPool"): _max,
}
