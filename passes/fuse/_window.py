"""How a convolution slides: strides, dilations and padding, whatever way they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from onnxopt.graph import AttributeValue, attribute, constant
from onnxopt_passes.fuse._convolution import Convolution

_LOST = 2.0**-9
"""What rounding to float16 may take of an output channel's largest weight."""


@dataclass(frozen=True)
class Window:
    """The sliding window of a Conv or ConvTranspose, one number a spatial axis each.

    Attributes:
        kernel: Size of the kernel.
        strides: Steps between windows.
        dilations: Steps between taps.
        begin: Zeros before the first position.
        end: Zeros after the last position.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def slides_by_one(self) -> bool:
        """Whether strides and dilations are all 1."""
        return all(step == 1 for step in (*self.strides, *self.dilations))

    @property
    def is_padded(self) -> bool:
        """Whether any zeros surround the input."""
        return any(self.begin) or any(self.end)

    @property
    def is_pointwise(self) -> bool:
        """Whether each position is computed from the same position of the input alone."""
        return self.taps == 1 and not self.is_padded and all(step == 1 for step in self.strides)

    @property
    def taps(self) -> int:
        """Number of taps of the kernel."""
        return int(np.prod(self.kernel))


def read_window(conv: Convolution) -> Window | None:
    """The window of a convolution; None where its padding depends on the size of the input."""
    kernel = conv.shape[2:]
    rank = len(kernel)
    strides = _numbers(conv, "strides", [1] * rank)
    dilations = _numbers(conv, "dilations", [1] * rank)
    pads = _numbers(conv, "pads", [0] * (2 * rank))
    mode = attribute(conv.node, "auto_pad", "NOTSET")
    if mode == "VALID":
        pads = (0,) * (2 * rank)
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        if conv.transposed or any(step != 1 for step in strides):
            return None
        total = [(size - 1) * step for size, step in zip(kernel, dilations, strict=True)]
        begin = [(n + (mode == "SAME_LOWER")) // 2 for n in total]
        pads = (*begin, *(n - first for n, first in zip(total, begin, strict=True)))
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank:
        return None
    return Window(kernel, strides, dilations, pads[:rank], pads[rank:])


def bias_of(conv: Convolution) -> npt.NDArray[np.float64] | None:
    """The bias in double precision, zeros where there is none; None where it is not constant."""
    node = conv.node
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return np.zeros(conv.output_layout.channels or 0)
    array = constant(value)
    return None if array is None else array.astype(np.float64)


def rounded(exact: npt.NDArray[np.float64], dtype: npt.DTypeLike) -> npt.NDArray[np.generic] | None:
    """Weights rounded to a type; None where that overflows, or where a whole output channel (a row)
    all but vanishes in float16.
    """
    with np.errstate(all="ignore"):
        result = exact.astype(dtype)
        back = result.astype(np.float64)
    if not np.isfinite(back).all():
        return None
    if np.dtype(dtype) == np.float16 and exact.ndim > 1 and exact.size:
        axes = tuple(range(1, exact.ndim))
        lost = np.abs(back - exact).max(axis=axes)
        if (lost > _LOST * np.abs(exact).max(axis=axes)).any():
            return None
    return result


def _numbers(conv: Convolution, name: str, default: Sequence[int]) -> tuple[int, ...]:
    value: AttributeValue = attribute(conv.node, name, default)
    return tuple(int(number) for number in cast("Sequence[int]", value))
