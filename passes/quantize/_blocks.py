"""Weights in blocks of few bits: ``w = scale * (code - zero_point)``, a scale a block.

Codes are unsigned. Where the zero point is not stored it is the middle one, ``2**(bits - 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bits = int
FloatArray = npt.NDArray[np.floating]
_NIBBLE, _BYTE = 4, 8


@dataclass(frozen=True, eq=False)
class Blocks:
    """A matrix [rows, columns] cut along its columns.

    Attributes:
        codes: uint8 [rows, blocks, block_size], unpacked; what is padded holds the zero point.
        scales: float32 [rows, blocks].
        zero_points: uint8 [rows, blocks]; None for the middle code.
        bits: Of each code, 4 or 8.
        columns: How many columns are real.
    """

    codes: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.uint8] | None
    bits: Bits
    columns: int

    def packed(self) -> npt.NDArray[np.uint8]:
        """The codes [rows, blocks, bytes], the earlier of two in a byte's low half."""
        return pack(self.codes, self.bits)

    def packed_zero_points(self) -> npt.NDArray[np.uint8] | None:
        """The zero points [rows, bytes]."""
        return None if self.zero_points is None else pack(self.zero_points, self.bits)

    def numbers(self) -> npt.NDArray[np.float32]:
        """What the codes stand for, [rows, columns]."""
        zero: npt.NDArray[np.float32] | float = float(1 << (self.bits - 1))
        if self.zero_points is not None:
            zero = self.zero_points[..., np.newaxis].astype(np.float32)
        real = (self.codes.astype(np.float32) - zero) * self.scales[..., np.newaxis]
        return real.reshape(len(real), -1)[:, : self.columns]


def in_blocks(matrix: FloatArray, block: int, bits: Bits, *, symmetric: bool) -> Blocks:
    """Round each block to the nearest codes.

    A symmetric block's scale maps its extreme number, whatever its sign, to code 0, so that all
    ``2**bits`` codes are used; an asymmetric one maps its range, widened to hold zero.

    Args:
        matrix: [rows, columns], finite.
        block: Columns a block; the last one is padded.
        bits: 4 or 8.
        symmetric: Whether the zero point is the middle code.
    """
    rows, columns = matrix.shape
    count = -(-columns // block)
    padded = np.zeros((rows, count * block), np.float64)
    padded[:, :columns] = matrix
    blocks = padded.reshape(rows, count, block)
    scales, zeros = _symmetric(blocks, bits) if symmetric else _asymmetric(blocks, bits)
    top = (1 << bits) - 1
    codes = np.rint(blocks / scales[..., np.newaxis]) + zeros[..., np.newaxis]
    return Blocks(
        np.clip(codes, 0, top).astype(np.uint8),
        scales,
        None if symmetric else zeros.astype(np.uint8),
        bits,
        columns,
    )


def pack(codes: npt.NDArray[np.uint8], bits: Bits) -> npt.NDArray[np.uint8]:
    """Codes two a byte along the last axis where they have 4 bits, padded by zeros."""
    if bits == _BYTE:
        return codes
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.zeros((*codes.shape[:-1], 1), np.uint8)], axis=-1)
    packed: npt.NDArray[np.uint8] = codes[..., ::2] | (codes[..., 1::2] << np.uint8(_NIBBLE))
    return packed


def _symmetric(
    blocks: npt.NDArray[np.float64], bits: Bits
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    middle = 1 << (bits - 1)
    at = np.abs(blocks).argmax(axis=-1)[..., np.newaxis]
    extremes = np.take_along_axis(blocks, at, axis=-1)[..., 0]
    scales = (-extremes / middle).astype(np.float32)
    scales[scales == 0] = 1.0
    return scales, np.full(scales.shape, float(middle))


def _asymmetric(
    blocks: npt.NDArray[np.float64], bits: Bits
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    top = (1 << bits) - 1
    low, high = np.minimum(blocks.min(axis=-1), 0), np.maximum(blocks.max(axis=-1), 0)
    scales = ((high - low) / top).astype(np.float32)
    scales[scales == 0] = 1.0
    return scales, np.clip(np.rint(-low / scales), 0, top)
