"""What the channels of one tensor hold: extrema, and sums that merge exactly."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from onnxopt.calibrate import sums

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """The finite values of each channel over all samples; no arrays unless ``fits``.

    Attributes:
        axis: The channels' axis; negative ones count from the last.
        lengths: Numbers of channels the tensor had, ascending, usually one; 0 for a tensor that
            had no such axis.
        counts: Number of finite values, int64 [channels].
        minimum: Least one, float64 [channels]; +inf where there is none.
        maximum: Greatest one, float64 [channels]; -inf where there is none.
        limbs: Their sums, int64 [channels, LIMBS]; see ``means``.
    """

    axis: int
    lengths: tuple[int, ...]
    counts: npt.NDArray[np.int64]
    minimum: npt.NDArray[np.float64]
    maximum: npt.NDArray[np.float64]
    limbs: sums.Limbs

    @classmethod
    def without_values(cls, axis: int, lengths: tuple[int, ...] = ()) -> Self:
        """Nothing but which lengths there were."""
        none = np.zeros(0, np.int64)
        ends = none.astype(np.float64)
        return cls(axis, lengths, none, ends, ends, none.reshape(0, sums.LIMBS))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChannelStatistics):
            return NotImplemented
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return all(np.array_equal(a, b) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]

    @property
    def fits(self) -> bool:
        """Whether the tensor had one and the same number of channels in all samples."""
        return len(self.lengths) == 1 and self.lengths[0] > 0

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        arrays = (self.counts, self.minimum, self.maximum, self.limbs)
        return sum(int(array.nbytes) for array in arrays)

    def means(self) -> npt.NDArray[np.float64]:
        """Mean of each channel's finite values, float64 [channels]; 0 where there are none.

        The values of one sample are added in float64, samples exactly.
        """
        return sums.means(self.limbs, self.counts)

    def merge(self, other: ChannelStatistics) -> ChannelStatistics:
        """The statistics of both data sets together."""
        if not (self.lengths and other.lengths):
            return self if self.lengths else other
        lengths = tuple(sorted({*self.lengths, *other.lengths}))
        if len(lengths) > 1 or not self.fits:
            return self.without_values(self.axis, lengths)
        return ChannelStatistics(
            self.axis,
            lengths,
            self.counts + other.counts,
            np.minimum(self.minimum, other.minimum) + 0.0,
            np.maximum(self.maximum, other.maximum) + 0.0,
            self.limbs + other.limbs,
        )


def channels_of(values: Array, axis: int, *, all_finite: bool) -> ChannelStatistics:
    """The statistics of one sample.

    Args:
        values: float32 or float64 of any shape.
        axis: The channels' axis.
        all_finite: That every value is known to be finite.
    """
    if not -values.ndim <= axis < values.ndim or not values.shape[axis]:
        return ChannelStatistics.without_values(axis, (0,))
    place, shape = axis % values.ndim, values.shape
    outer, length = int(np.prod(shape[:place], dtype=np.int64)), shape[place]
    rows = np.ascontiguousarray(values).reshape(outer, length, -1 if values.size else 0)
    known = None if all_finite else np.isfinite(rows)
    counts = np.full(length, values.size // length) if known is None else known.sum((0, 2))
    low = rows if known is None else np.where(known, rows, np.inf)
    high = rows if known is None else np.where(known, rows, -np.inf)
    summed = rows if known is None else np.where(known, rows, 0)
    return ChannelStatistics(
        axis,
        (length,),
        counts.astype(np.int64),
        _reduced(np.minimum, low, np.inf),
        _reduced(np.maximum, high, -np.inf),
        sums.exact(_sums(summed)),
    )


def _reduced(by: np.ufunc, rows: Array, initial: float) -> npt.NDArray[np.float64]:
    """Over the inner axis first, which lies in one piece. + 0.0 for -0.0, as in the whole."""
    inner = by.reduce(rows, axis=2, initial=initial) if rows.shape[2] != 1 else rows[:, :, 0]
    found = by.reduce(inner, axis=0, initial=initial).astype(np.float64) + 0.0
    made: npt.NDArray[np.float64] = found
    return made


def _sums(rows: Array) -> npt.NDArray[np.float64]:
    limit = float(np.finfo(np.float32).max)
    narrow = rows if rows.dtype == np.float32 else np.clip(rows, -limit, limit)
    inner = np.add.reduce(narrow, axis=2, dtype=np.float64)
    made: npt.NDArray[np.float64] = np.add.reduce(inner, axis=0)
    return made
