"""A metric over a data set: collected sample by sample, then one number with its interval."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxopt.errors import DataError
from onnxopt.metrics.bootstrap import (
    Interval,
    bootstrap_mean,
    bootstrap_statistic,
    paired_bootstrap,
)
from onnxopt.metrics.metric import Metric, Outputs


@dataclass
class Scores:
    """One model's samples under a metric.

    Attributes:
        metric: The metric.
        values: What each sample contributed, in order.
        weights: What each sample counts where the metric is a mean.
        items: The source item of each sample; those of one item resemble each other, so intervals
            draw whole items.
    """

    metric: Metric
    values: list[Any] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    items: list[str] = field(default_factory=list)

    def add(
        self,
        outputs: Outputs,
        label: object,
        where: str = "sample",
        *,
        reference: Outputs | None = None,
        item: str = "",
    ) -> None:
        """Count in one sample.

        Args:
            outputs: Of the model.
            label: Of the sample.
            where: Names the sample in errors.
            reference: What the reference model gave; metrics of agreement compare with it.
            item: The source item of the sample; empty where it is its own.

        Raises:
            DataError: Something to compare with is missing or does not fit.
        """
        wanted = reference if self.metric.against == "reference" else label
        if self.metric.against == "reference" and reference is None:
            raise DataError(f"{self.metric.name} compares with a reference model", "two models")
        self.values.append(self.metric.observe(outputs, wanted, where))
        self.weights.append(self.metric.weight(wanted))
        self.items.append(item)

    def value(self) -> float:
        """The score of the samples as they are.

        Raises:
            DataError: There are no samples, or the score is not defined on them.
        """
        if not self.values:
            raise DataError(f"no samples for {self.metric.name}")
        if self.metric.statistic is None:
            return float(np.average(self.values, weights=self.weights))
        whole = self.metric.statistic(self.values)(np.ones((1, len(self.values))))
        if not np.isfinite(whole[0]):
            raise DataError(
                f"{self.metric.name} is not defined on these {len(self.values)} samples"
            )
        return float(whole[0])

    def interval(self, *, seed: int = 0) -> Interval:
        """The score with its 95 % interval."""
        self.value()
        if self.metric.statistic is None:
            return bootstrap_mean(self.values, weights=self.weights, items=self.items, seed=seed)
        return bootstrap_statistic(
            self.metric.statistic(self.values), len(self.values), items=self.items, seed=seed
        )


def change_of(before: Scores, after: Scores, *, seed: int = 0, seen_only: bool = False) -> Interval:
    """``after - before`` of one metric on the same samples, resampled by pairs.

    Args:
        before: Of one model.
        after: Of the other.
        seed: Of the draws.
        seen_only: Whether to leave out what unseen samples could do: the plain bootstrap, far too
            sure of few samples.

    Raises:
        DataError: The numbers of samples differ, or a score is not defined.
    """
    metric = before.metric
    if len(before.values) != len(after.values):
        raise DataError(f"{len(before.values)} samples before and {len(after.values)} after")
    first, second = before.value(), after.value()
    if metric.statistic is None:
        span = metric.span if metric.span is not None else _spread(before, after)
        span = 0.0 if seen_only else span
        return paired_bootstrap(
            before.values,
            after.values,
            weights=before.weights,
            items=before.items,
            span=span,
            seed=seed,
        )
    old, new = metric.statistic(before.values), metric.statistic(after.values)
    span = metric.span if metric.span is not None else abs(second - first)
    span = 0.0 if seen_only else span
    return bootstrap_statistic(
        lambda counts: new(counts) - old(counts),
        len(before.values),
        items=before.items,
        span=span,
        seed=seed,
    )


def _spread(before: Scores, after: Scores) -> float:
    both = [*before.values, *after.values]
    return float(max(both) - min(both))
