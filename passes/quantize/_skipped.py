"""How much of a dilated Conv's window lies on padding, which float kernels leave out.

Integer kernels gather the whole window and multiply padding like anything else.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from onnxopt.graph import attribute

_ROWS = -2
_HALF = 0.5  # along a row, float kernels leave out whole blocks of outputs only


def skipped_share(node: ir.Node, output: ir.Value, window: tuple[int, ...], pixels: float) -> float:
    """The share of multiply-accumulates that a float kernel leaves out; 0 without dilation.

    Args:
        node: A Conv.
        output: What leaves it; its declared sizes count, and else it is taken as a square.
        window: Sizes of its kernel.
        pixels: Positions of the output on one sample.
    """
    count = len(window)
    dilations = numbers_of(node, "dilations", [1] * count)
    if max(dilations, default=1) <= 1:
        return 0.0
    strides = numbers_of(node, "strides", [1] * count)
    reaches = [(kernel - 1) * dilation for kernel, dilation in zip(window, dilations, strict=True)]
    if str(attribute(node, "auto_pad", "NOTSET")).startswith("SAME"):
        low = [reach // 2 for reach in reaches]
        pads = [*low, *(reach - half for reach, half in zip(reaches, low, strict=True))]
    else:
        pads = numbers_of(node, "pads", [0] * 2 * count)
    sizes = _sizes(output, count, pixels)
    inside = [
        _inside(size, kernel, dilation, stride, (low, high))
        for size, kernel, dilation, stride, low, high in zip(
            sizes, window, dilations, strides, pads[:count], pads[count:], strict=True
        )
    ]
    columns = 1.0 - _HALF * (1.0 - inside[-1])
    return 1.0 - columns * (inside[_ROWS] if count > 1 else 1.0)


def _inside(size: int, kernel: int, dilation: int, stride: int, pads: tuple[int, int]) -> float:
    """The share of a window's places that lie in the input, over all outputs along an axis."""
    length = (size - 1) * stride + (kernel - 1) * dilation + 1 - sum(pads)
    found = 0
    for tap in range(kernel):
        offset = tap * dilation - pads[0]
        first = max(0, math.ceil(-offset / stride))
        last = min(size - 1, (length - 1 - offset) // stride)
        found += max(0, last - first + 1)
    return found / (kernel * size)


def _sizes(output: ir.Value, count: int, pixels: float) -> list[int]:
    shape = output.shape
    declared = list(shape.dims[-count:]) if shape is not None and len(shape) > count else []
    numbers = [dim for dim in declared if isinstance(dim, int) and dim > 0]
    square = max(1, round(pixels ** (1 / count)))
    return numbers if len(numbers) == count else [square] * count


def numbers_of(node: ir.Node, name: str, default: list[int]) -> list[int]:
    """An attribute of several integers; the default where a node has none."""
    found = attribute(node, name, default)
    return [int(number) for number in found] if isinstance(found, list | tuple) else default
