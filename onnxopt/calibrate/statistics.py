"""What a data set does to a model's tensors, as exact counts that merge in any order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from onnxopt.calibrate.histogram import Histogram, HistogramBuilder


@dataclass(frozen=True)
class TensorStatistics:
    """The values of one tensor over all samples.

    Attributes:
        dtype: numpy's name of the element type.
        ranks: Numbers of axes it had, ascending; usually one.
        count: Number of elements, those that are not finite included.
        nan_count: Number of NaNs.
        inf_count: Number of infinities.
        minimum: Least finite value, exact; +inf where there is none.
        maximum: Greatest finite value, exact; -inf where there is none.
        histogram: Of the finite values, as float32.
    """

    dtype: str
    ranks: tuple[int, ...]
    count: int
    nan_count: int
    inf_count: int
    minimum: float
    maximum: float
    histogram: Histogram

    @property
    def is_finite(self) -> bool:
        """Whether there are values and all of them are finite."""
        return self.count > 0 and not self.nan_count and not self.inf_count

    def merge(self, other: TensorStatistics) -> TensorStatistics:
        """The statistics of both data sets together."""
        return TensorStatistics(
            dtype=max(self.dtype, other.dtype),
            ranks=tuple(sorted({*self.ranks, *other.ranks})),
            count=self.count + other.count,
            nan_count=self.nan_count + other.nan_count,
            inf_count=self.inf_count + other.inf_count,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            histogram=self.histogram.merge(other.histogram),
        )


@dataclass(frozen=True)
class Statistics:
    """The statistics of some tensors of a model.

    Attributes:
        samples: Number of samples seen.
        tensors: By tensor name, sorted.
        skipped: Tensors that were asked for and have no statistics, with the reason.
    """

    samples: int
    tensors: Mapping[str, TensorStatistics]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> TensorStatistics:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)


def merge(a: Statistics, b: Statistics) -> Statistics:
    """The statistics of two data sets together: exact, in any order and grouping."""
    names = sorted({*a.tensors, *b.tensors})
    skipped = {**a.skipped, **b.skipped}
    return Statistics(
        samples=a.samples + b.samples,
        tensors={name: _merge_found(a.tensors.get(name), b.tensors.get(name)) for name in names},
        skipped={name: skipped[name] for name in sorted(skipped) if name not in names},
    )


def _merge_found(a: TensorStatistics | None, b: TensorStatistics | None) -> TensorStatistics:
    found = [part for part in (a, b) if part is not None]
    return found[0] if len(found) == 1 else found[0].merge(found[1])


class TensorObserver:
    """Sees one tensor sample by sample."""

    def __init__(self) -> None:
        self._dtype = ""
        self._ranks: set[int] = set()
        self._count = self._nans = self._infs = 0
        self._minimum, self._maximum = math.inf, -math.inf
        self._histogram = HistogramBuilder()

    def add(self, array: npt.NDArray[np.floating]) -> None:
        """Take in the tensor's value in one sample, of any float type and shape."""
        self._dtype = max(self._dtype, array.dtype.name)
        self._ranks.add(array.ndim)
        self._count += array.size
        values = np.ascontiguousarray(array).reshape(-1)
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            values = self._finite(values)
            if not values.size:
                return
            low, high = float(values.min()), float(values.max())
        # + 0.0 because min and max do not order -0.0 and 0.0
        self._minimum = min(self._minimum, low) + 0.0
        self._maximum = max(self._maximum, high) + 0.0
        self._histogram.add(_as_float32(values))

    def build(self) -> TensorStatistics:
        """The statistics of all samples so far."""
        return TensorStatistics(
            self._dtype,
            tuple(sorted(self._ranks)),
            self._count,
            self._nans,
            self._infs,
            self._minimum,
            self._maximum,
            self._histogram.build(),
        )

    def _finite(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        self._nans += int(np.isnan(values).sum())
        self._infs += int(np.isinf(values).sum())
        finite: npt.NDArray[np.floating] = values[np.isfinite(values)]
        return finite


def _as_float32(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    if values.dtype.name in ("float32", "float16", "bfloat16"):
        return values.astype(np.float32, copy=False)
    limit = float(np.finfo(np.float32).max)
    return np.clip(values.astype(np.float64), -limit, limit).astype(np.float32)
