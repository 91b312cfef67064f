"""What a data set does to a model's tensors, as exact counts that merge in any order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from onnxopt.calibrate.channels import ChannelStatistics
from onnxopt.calibrate.detail import Detail
from onnxopt.calibrate.histogram import NO_VALUES, Histogram

FEWEST_SAMPLES = 16
"""With less than that, ranges depend on which samples they were."""


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
        histogram: Of the finite values, as float32; empty where it was not asked for.
        extrema_samples: Number of samples with finite values.
        minimum_sum: Sum of these samples' least values, exact.
        maximum_sum: Sum of their greatest values, exact.
        channels: Of each channel, where asked for.
    """

    dtype: str
    ranks: tuple[int, ...]
    count: int
    nan_count: int
    inf_count: int
    minimum: float
    maximum: float
    histogram: Histogram
    extrema_samples: int = 0
    minimum_sum: Fraction = Fraction(0)
    maximum_sum: Fraction = Fraction(0)
    channels: ChannelStatistics | None = None

    @property
    def has_histogram(self) -> bool:
        """Whether the histogram counts all finite values."""
        return self.histogram.total == self.count - self.nan_count - self.inf_count

    @property
    def nbytes(self) -> int:
        """Memory of the histogram and the channels."""
        return self.histogram.nbytes + (self.channels.nbytes if self.channels else 0)

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
            histogram=self._merged_histogram(other),
            extrema_samples=self.extrema_samples + other.extrema_samples,
            minimum_sum=self.minimum_sum + other.minimum_sum,
            maximum_sum=self.maximum_sum + other.maximum_sum,
            channels=self._merged_channels(other),
        )

    def _merged_histogram(self, other: TensorStatistics) -> Histogram:
        if not (self.has_histogram and other.has_histogram):
            return NO_VALUES
        return self.histogram.merge(other.histogram)

    def _merged_channels(self, other: TensorStatistics) -> ChannelStatistics | None:
        a, b = self.channels, other.channels
        return a.merge(b) if a is not None and b is not None and a.axis == b.axis else None


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

    @property
    def nbytes(self) -> int:
        """Memory of all histograms (10 bytes an occupied bin) and channels (144 bytes each)."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes these statistics less than they should be, one sentence each."""
        if self.samples >= FEWEST_SAMPLES:
            return ()
        plural = "" if self.samples == 1 else "s"
        return (
            f"calibrated on {self.samples} sample{plural}: ranges may be too narrow for other "
            f"data, give at least {FEWEST_SAMPLES}",
        )

    def covers(self, detail: Detail) -> bool:
        """Whether these statistics hold what is asked for."""
        tensors = self.tensors.values()
        if detail.histogram and not all(tensor.has_histogram for tensor in tensors):
            return False
        wanted = detail.channels.items()
        return all(self._axis(name) == axis for name, axis in wanted if name in self.tensors)

    def narrowed(self, detail: Detail) -> Statistics:
        """These statistics without what is not asked for."""
        tensors = {
            name: replace(
                tensor,
                histogram=tensor.histogram if detail.histogram else NO_VALUES,
                channels=tensor.channels if name in detail.channels else None,
            )
            for name, tensor in self.tensors.items()
        }
        return Statistics(self.samples, tensors, self.skipped)

    @property
    def detail(self) -> Detail:
        """What these statistics hold."""
        found = {name: self._axis(name) for name in self.tensors}
        channels = {name: axis for name, axis in found.items() if axis is not None}
        return Detail(all(t.has_histogram for t in self.tensors.values()), channels)

    def _axis(self, name: str) -> int | None:
        channels = self.tensors[name].channels
        return None if channels is None else channels.axis

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
