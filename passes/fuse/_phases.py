"""A transposed convolution as an ordinary one whose output channels are interleaved.

With stride ``f`` and ``n·f`` taps (zeros added at the end), output ``f·i + a`` of
``y[o] = Σ_t T[t]·x[(o - t)/f]`` sees the taps ``a, a + f, a + 2f, …`` only:
``y[f·i + a] = Σ_j T[a + f·j]·x[i - j]``. So every phase ``a`` is a convolution with ``n`` taps
over the same positions, all phases together are one with ``f²`` times the channels, and
DepthToSpace puts them in place. What the transposed convolution crops is taken from the padding
in steps of ``f`` and for the rest by a Slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import Editor

Array = npt.NDArray[np.float64]

_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Phases:
    """A transposed convolution of images with one stride along both axes.

    Attributes:
        taps: Its weights ``[C, M, kh, kw]``.
        factor: Its stride.
        begin: What it crops (its ``pads``) at top and left.
        end: What it crops at bottom and right; negative where it adds outputs.
    """

    taps: Array
    factor: int
    begin: tuple[int, int]
    end: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Number of taps of each phase along both axes."""
        height, width = (-(-size // self.factor) for size in self.taps.shape[2:])
        return height, width

    @property
    def overlaps(self) -> bool:
        """Whether each phase has several taps and all phases have the same."""
        sizes = self.taps.shape[2:]
        return all(size > self.factor and size % self.factor == 0 for size in sizes)

    def weight(self) -> Array:
        """Weights ``[f²·M, C, n, n]`` of the one convolution, phase by phase."""
        factor, (rows, columns) = self.factor, self.size
        channels, outputs, height, width = self.taps.shape
        room = ((0, 0), (0, 0), (0, rows * factor - height), (0, columns * factor - width))
        taps = np.pad(self.taps, room)
        split = taps.reshape(channels, outputs, rows, factor, columns, factor)
        phases = split[:, :, ::-1, :, ::-1, :].transpose(3, 5, 1, 0, 2, 4)
        return phases.reshape(factor * factor * outputs, channels, rows, columns)

    def bias(self, bias: Array) -> Array:
        """The bias of the one convolution."""
        return np.tile(bias, self.factor * self.factor)

    def geometry(self) -> Geometry | None:
        """Padding and cropping; None where it crops whole taps."""
        factor, pads, crops = self.factor, [], []
        for axis, size in enumerate(self.size):
            surplus = size * factor - self.taps.shape[2 + axis]
            begin, end = self.begin[axis], self.end[axis] + surplus
            pads.append((size - 1 - begin // factor, size - 1 - end // factor))
            crops.append((begin % factor, end % factor))
        if any(pad < 0 for both in pads for pad in both):
            return None
        (top, bottom), (left, right) = pads
        return Geometry((top, left, bottom, right), tuple(crops))


@dataclass(frozen=True)
class Geometry:
    """Padding before the convolution of phases, as ONNX orders it, and cropping after them."""

    pads: tuple[int, int, int, int]
    crops: tuple[tuple[int, int], ...]

    @property
    def is_cropped(self) -> bool:
        """Whether anything is cropped after the interleaving."""
        return any(amount for both in self.crops for amount in both)


def over_upsampled(
    weight: Array, factor: int, begin: tuple[int, int], end: tuple[int, int]
) -> Phases:
    """What convolving with ``weight`` ``[M, C, kh, kw]`` an image of which every position was
    repeated ``factor`` times is to the image before that.
    """
    outputs, channels, height, width = weight.shape
    taps = np.zeros((channels, outputs, height + factor - 1, width + factor - 1))
    flipped = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    for row in range(factor):
        for column in range(factor):
            taps[:, :, row : row + height, column : column + width] += flipped
    crop_begin = (height - 1 - begin[0], width - 1 - begin[1])
    crop_end = (height - 1 - end[0], width - 1 - end[1])
    return Phases(taps, factor, crop_begin, crop_end)


def interleave(
    editor: Editor,
    anchor: ir.Node,
    source: ir.Value,
    base: str,
    factor: int,
    crops: tuple[tuple[int, int], ...] = (),
) -> ir.Value:
    """DepthToSpace of the phases and, where needed, a Slice, placed before ``anchor``."""
    spread = editor.insert_before(
        anchor, "DepthToSpace", [source], f"{base}/interleaved", {"blocksize": factor}
    )
    spread.type = source.type
    if not any(amount for both in crops for amount in both):
        return spread
    starts = [first for first, _ in crops]
    ends = [-last if last else _END for _, last in crops]
    bounds = [
        editor.constant(anchor, f"{base}/crop_{name}", np.array(numbers, np.int64))
        for name, numbers in (("starts", starts), ("ends", ends), ("axes", [2, 3]))
    ]
    cropped = editor.insert_before(anchor, "Slice", [spread, *bounds], f"{base}/cropped")
    cropped.type = source.type
    return cropped
