"""Conv and ConvTranspose in one to three dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional as F

from onnxopt.distill.bridge.ops.elementwise import Builder
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def same_pads(
    size: Sequence[int], window: Sequence[int], stride: Sequence[int], *, upper: bool
) -> list[int]:
    """ONNX pads (all begins, then all ends) of auto_pad SAME.

    Args:
        size: Spatial sizes of the input.
        window: Dilated kernel sizes.
        stride: One an axis.
        upper: Whether the odd one goes to the end.
    """
    whole = [
        max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, window, stride, strict=True)
    ]
    small, big = [n // 2 for n in whole], [n - n // 2 for n in whole]
    return [*small, *big] if upper else [*big, *small]


def torch_pads(pads: Sequence[int]) -> list[int]:
    """ONNX pads as torch wants them: last axis first, begin and end together."""
    half = len(pads) // 2
    return [pads[index + side] for index in reversed(range(half)) for side in (0, half)]


class Window:
    """The attributes that convolutions and pools share, for a known number of axes."""

    def __init__(self, site: Site, axes: int) -> None:
        self.auto = site.text("auto_pad", "NOTSET")
        self.strides = tuple(site.attr("strides", (1,) * axes))
        self.dilations = tuple(site.attr("dilations", (1,) * axes))
        self.given = tuple(site.attr("pads", (0,) * 2 * axes))
        half = len(self.given) // 2
        begins, ends = self.given[:half], self.given[half:]
        self.symmetric = begins if begins == ends and self.auto in ("NOTSET", "VALID") else None
        if self.auto == "VALID":
            self.given, self.symmetric = (0,) * 2 * axes, (0,) * axes

    def extent(self, kernel: Sequence[int]) -> list[int]:
        """What the dilated kernel spans."""
        return [(k - 1) * d + 1 for k, d in zip(kernel, self.dilations, strict=True)]

    def pads(self, size: Sequence[int], kernel: Sequence[int]) -> Sequence[int]:
        """ONNX pads for an input of this size."""
        if self.auto in ("NOTSET", "VALID"):
            return self.given
        upper = self.auto == "SAME_UPPER"
        return same_pads(size, self.extent(kernel), self.strides, upper=upper)


def convolution(site: Site) -> Function:
    """Conv with its attributes bound; the number of axes comes with the first weight."""
    group = site.attr("group", 1)
    windows: dict[int, Window] = {}

    def run(x: Value, weight: Value, bias: Value = None, *rest: Value) -> Value:
        axes = weight.dim() - 2
        window = windows.get(axes)
        if window is None:
            window = windows[axes] = Window(site, axes)
        padding = window.symmetric
        if padding is None:
            x = F.pad(x, torch_pads(window.pads(x.shape[2:], weight.shape[2:])))
            padding = (0,) * axes
        return _CONV[axes](x, weight, bias, window.strides, padding, window.dilations, group)

    return run


def _transposed(site: Site) -> Function:
    group = site.attr("group", 1)
    wanted = site.attr("output_shape")

    def run(x: Value, weight: Value, bias: Value = None) -> Value:
        axes = weight.dim() - 2
        window = Window(site, axes)
        extra = tuple(site.attr("output_padding", (0,) * axes))
        size, extent = x.shape[2:], window.extent(weight.shape[2:])
        full = [(n - 1) * s + k for n, s, k in zip(size, window.strides, extent, strict=True)]
        pads = _transposed_pads(window, size, full, extra, wanted)
        made = _TRANSPOSED[axes](x, weight, None, window.strides, 0, 0, group, window.dilations)
        begins, ends = pads[:axes], pads[axes:]
        cut = [-b for b in begins] + [e - p for e, p in zip(extra, ends, strict=True)]
        made = F.pad(made, torch_pads(cut)) if any(cut) else made
        return made if bias is None else made + bias.reshape(-1, *(1,) * axes)

    def fast(x: Value, weight: Value, bias: Value = None) -> Value:
        axes = weight.dim() - 2
        window = Window(site, axes)
        extra = site.attr("output_padding", (0,) * axes)
        padding = window.symmetric
        return _TRANSPOSED[axes](
            x, weight, bias, window.strides, padding, extra, group, window.dilations
        )

    pads = tuple(site.attr("pads", ()))
    half = len(pads) // 2
    is_even = pads[:half] == pads[half:] and site.text("auto_pad", "NOTSET") == "NOTSET"
    return fast if is_even and wanted is None and not site.attr("output_padding") else run


def _transposed_pads(
    window: Window,
    size: Sequence[int],
    full: Sequence[int],
    extra: Sequence[int],
    wanted: Sequence[int] | None,
) -> list[int]:
    """ONNX pads to cut off."""
    if wanted is None:
        if window.auto in ("NOTSET", "VALID"):
            return list(window.given)
        wanted = [n * s for n, s in zip(size, window.strides, strict=True)]
    wanted = list(wanted)[-len(size) :]
    total = [f + e - w for f, e, w in zip(full, extra, wanted, strict=True)]
    small, big = [n // 2 for n in total], [n - n // 2 for n in total]
    return [*small, *big] if window.auto == "SAME_UPPER" else [*big, *small]


def _fused(site: Site) -> Function:
    """com.microsoft FusedConv: Conv, an optional sum, an activation."""
    act = _ACTIVATIONS.get(site.text("activation", ""))
    if act is None:
        raise UnsupportedError(f"its activation is {site.text('activation', '')!r}")
    base, parameters = convolution(site), tuple(site.attr("activation_params", ()))

    def run(x: Value, weight: Value, bias: Value = None, z: Value = None) -> Value:
        made = base(x, weight, bias)
        return act(made if z is None else made + z, *parameters)

    return run


_ACTIVATIONS = {
    "": lambda x: x,
    "Relu": torch.relu,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "LeakyRelu": F.leaky_relu,
    "Clip": torch.clamp,
    "HardSigmoid": lambda x, alpha, beta: torch.clamp(x * alpha + beta, 0.0, 1.0),
}

OPS: Mapping[tuple[str, str], Builder] = {
    ("", "Conv"): convolution,
    ("", "ConvTranspose"): _transposed,
    ("com.microsoft", "FusedConv"): _fused,
}
