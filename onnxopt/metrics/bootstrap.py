"""Confidence intervals of a mean and of a change, by bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError

RESAMPLES = 10_000
SET_RESAMPLES = 2_000
_CHUNK_ELEMENTS = 1 << 20
_RULE_OF_THREE = 3.0


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: Of the samples as they are.
        low: Lower end.
        high: Upper end.
        samples: How many it rests on.
        confidence: How often such an interval holds the true mean.
        unseen: How far it would reach to each side if no sample had shown any change; this part
            shrinks with the samples, not with the square root of their number.
    """

    mean: float
    low: float
    high: float
    samples: int = 0
    confidence: float = 0.95
    unseen: float = 0.0

    def __neg__(self) -> Interval:
        low, high = 0.0 - self.high, 0.0 - self.low
        return replace(self, mean=0.0 - self.mean, low=low, high=high)


def paired_bootstrap(
    before: Sequence[float] | npt.NDArray[np.floating],
    after: Sequence[float] | npt.NDArray[np.floating],
    *,
    weights: Sequence[float] | None = None,
    items: Sequence[str] | None = None,
    span: float = 0.0,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The weighted mean of ``after - before``, resampled by pairs.

    See ``bootstrap_mean``.

    Raises:
        DataError: The lengths differ, there are no samples, or a value is not finite.
    """
    a, b = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if a.shape != b.shape:
        raise DataError(f"{a.size} scores before and {b.size} after", "as many of each")
    return bootstrap_mean(
        b - a, weights=weights, items=items, span=span, seed=seed, resamples=resamples
    )


def bootstrap_mean(
    values: Sequence[float] | npt.NDArray[np.floating],
    *,
    weights: Sequence[float] | None = None,
    items: Sequence[str] | None = None,
    span: float = 0.0,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The weighted mean ``sum(w*v) / sum(w)`` with its 95 % percentile interval (Efron, 1979).

    The bootstrap cannot imagine what it has not seen: with no change in ten samples it would be
    sure of no change at all. So the pool that is drawn from also holds one change of ``+span``
    and one of ``-span``, as Bonett and Price (2012) add one to each kind of discordant pair;
    without any change seen the interval is then about ``±3 span / n``, the rule of three.

    Args:
        values: One a sample.
        weights: One a sample; equal by default.
        items: The source item of each sample: whole items are drawn, because samples of one item
            resemble each other (Field and Welsh, 2007). Each its own by default.
        span: The largest change a sample can show; 0 for the plain bootstrap.
        seed: Of the draws.
        resamples: How many draws.

    Raises:
        DataError: There are no samples, or a value is not finite.
    """
    data = np.asarray(values, dtype=np.float64)
    share = np.ones_like(data) if weights is None else np.asarray(weights, dtype=np.float64)
    if data.ndim != 1 or data.size == 0 or share.shape != data.shape or share.sum() <= 0:
        raise DataError(f"no mean of {data.size} values with {share.size} weights")
    if not np.isfinite(data).all():
        raise DataError("a score is not finite")
    count, mean = data.size, float((share * data).sum() / share.sum())
    places = _places(items, data.size)
    if places is not None:
        whole = np.bincount(places, share).astype(np.float64)
        data, share = np.bincount(places, share * data) / np.maximum(whole, 1e-300), whole
    pool = np.concatenate([data, [span, -span]]) if span else data
    pool_share = np.concatenate([share, [share.mean()] * 2]) if span else share
    means = _resampled_means(pool, pool_share, seed, resamples)
    low, high = np.quantile(means, [0.025, 0.975])
    unseen = _RULE_OF_THREE * span / data.size
    return Interval(mean, min(float(low), mean), max(float(high), mean), count, unseen=unseen)


def _places(items: Sequence[str] | None, count: int) -> npt.NDArray[np.intp] | None:
    """The number of each sample's item; None where every sample is its own."""
    if items is None or not any(items) or len(set(items)) == count:
        return None
    if len(items) != count:
        raise DataError(f"{len(items)} items of {count} samples", "as many of each")
    places: npt.NDArray[np.intp] = np.unique(np.asarray(items), return_inverse=True)[1]
    return places


def _resampled_means(
    pool: npt.NDArray[np.float64], share: npt.NDArray[np.float64], seed: int, resamples: int
) -> npt.NDArray[np.float64]:
    """Means of draws with replacement, a few megabytes at a time."""
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    rows = max(1, _CHUNK_ELEMENTS // pool.size)
    product, equal = pool * share, bool((share == share[0]).all())
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = generator.integers(0, pool.size, (stop - start, pool.size))
        if equal:
            means[start:stop] = pool[drawn].mean(axis=1)
        else:
            means[start:stop] = product[drawn].sum(axis=1) / share[drawn].sum(axis=1)
    return means


def bootstrap_statistic(
    statistic: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    samples: int,
    *,
    items: Sequence[str] | None = None,
    span: float = 0.0,
    seed: int = 0,
    resamples: int = SET_RESAMPLES,
) -> Interval:
    """A statistic of a set with its 95 % percentile interval, samples drawn with replacement.

    Two phantom samples are in the pool, as in ``bootstrap_mean``: a draw of one moves the value
    by ``+span / n``, of the other by ``-span / n``, about what one unseen sample could do.

    Args:
        statistic: From how often each sample is drawn, [draws, samples], to a value a draw; NaN
            where a draw has none, such as one without any positive label.
        samples: How many there are.
        items: The source item of each sample; whole items are drawn.
        span: The largest change the statistic can show; 0 for the plain bootstrap.
        seed: Of the draws.
        resamples: How many draws.

    Raises:
        DataError: There are no samples, or most draws have no value.
    """
    if samples < 1:
        raise DataError("no statistic of no samples")
    mean = float(statistic(np.ones((1, samples)))[0])
    generator = np.random.default_rng(seed)
    places = _places(items, samples)
    units = samples if places is None else int(places.max()) + 1
    pool = units + 2 if span else units
    rows = max(1, _CHUNK_ELEMENTS // max(pool, samples))
    found = []
    for start in range(0, resamples, rows):
        counts = _counts(generator, min(rows, resamples - start), pool)
        drawn_units = counts[:, :units]
        values = statistic(drawn_units if places is None else drawn_units[:, places])
        found.append(values + _phantoms(counts, units) * span / units)
    drawn = np.concatenate(found)
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(mean) or drawn.size < resamples / 2:
        raise DataError(f"the score is not defined on most draws of these {samples} samples")
    low, high = np.quantile(drawn, [0.025, 0.975])
    unseen = _RULE_OF_THREE * span / units
    return Interval(mean, min(float(low), mean), max(float(high), mean), samples, unseen=unseen)


def _phantoms(counts: npt.NDArray[np.float64], samples: int) -> npt.NDArray[np.float64]:
    if counts.shape[1] == samples:
        return np.zeros(len(counts))
    return np.asarray(counts[:, samples] - counts[:, samples + 1])


def _counts(generator: np.random.Generator, draws: int, pool: int) -> npt.NDArray[np.float64]:
    """How often each of ``pool`` samples is drawn in ``pool`` draws with replacement."""
    drawn = generator.integers(0, pool, (draws, pool)) + pool * np.arange(draws)[:, None]
    flat = np.bincount(drawn.reshape(-1), minlength=draws * pool)
    return flat.reshape(draws, pool).astype(np.float64)
