"""Sums of floating-point numbers that come out the same in any order: kept as whole numbers.

A sum is ``limbs @ 2 ** (32 * arange(LIMBS)) * 2 ** -256``. A number is cut into pieces at fixed
places, so that adding is adding integers; no carry is passed on until somebody asks for the sum.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Limbs = npt.NDArray[np.int64]
LIMBS = 15
"""Whole numbers that hold a sum: 256 bits after the binary point, 224 before it."""
_BITS = 32
_FRACTION_BITS = 256
_HALF_BITS = 27  # half of a float64's 53 bits of mantissa and one to spare


def exact(values: npt.NDArray[np.float64]) -> Limbs:
    """Numbers as limbs, int64 [n, LIMBS], for any below 2^190 whose last bit is at least 2^-200.

    That holds for what float64 makes of sums of float32. Two billion of them may be added.
    """
    mantissa, exponent = np.frexp(values)
    whole = np.ldexp(mantissa, 2 * _HALF_BITS).astype(np.int64)
    place = exponent.astype(np.int64) - 2 * _HALF_BITS + _FRACTION_BITS
    limbs = np.zeros((values.size, LIMBS), np.int64)
    rows = np.arange(values.size)
    low = whole & ((1 << _HALF_BITS) - 1)
    for half, start in ((whole >> _HALF_BITS, place + _HALF_BITS), (low, place)):
        moved = half << (start % _BITS)
        limbs[rows, start // _BITS] += moved & ((1 << _BITS) - 1)
        limbs[rows, start // _BITS + 1] += moved >> _BITS
    return limbs


def means(limbs: Limbs, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Sums divided by counts, float64 [n], rounded once; 0 where the count is 0."""
    weights = [1 << (_BITS * place) for place in range(LIMBS)]
    rows = zip(limbs.tolist(), counts.tolist(), strict=True)
    found = [
        sum(map(int.__mul__, row, weights)) / (count << _FRACTION_BITS) if count else 0.0
        for row, count in rows
    ]
    return np.array(found, np.float64)
