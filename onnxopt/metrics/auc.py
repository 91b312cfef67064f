"""Area under the ROC curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError
from onnxopt.metrics.counting import Floats, in_blocks, ratio
from onnxopt.metrics.metric import Counts, Metric, Outputs, pick_output
from onnxopt.metrics.naming import spell_metric

_Pair = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]


def roc_auc(*, positive: int = 1, output: str | None = None) -> Metric:
    """How often a positive row scores above a negative one, ties half; over the whole set.

    Hanley and McNeil, 1982: the Mann-Whitney statistic.

    Args:
        positive: The class that is positive; with scores of several classes also their column.
        output: One score a label, or [rows, classes]; the first float output by default.
    """
    options = {"positive": positive, "output": output}
    return Metric(
        spell_metric("roc-auc", options, {"positive": 1}),
        lambda outputs, label: _rows(outputs, label, output, positive),
        span=1,
        statistic=_area,
    )


def _rows(outputs: Outputs, label: Any, output: str | None, positive: int) -> _Pair:
    labels = np.asarray(label).reshape(-1)
    if labels.size == 0 or labels.dtype.kind not in "iub":
        raise DataError(f"label {label!r}", "a class for each row")
    scores = pick_output(outputs, output).astype(np.float64)
    if scores.size != labels.size:
        if scores.size % labels.size:
            raise DataError(f"{labels.size} labels for scores of shape {list(scores.shape)}")
        table = scores.reshape(labels.size, -1)
        if not 0 <= positive < table.shape[1]:
            raise DataError(f"no column {positive} in scores of shape {list(scores.shape)}")
        scores = table[:, positive]
    if np.isnan(scores).any():
        raise DataError("a score is NaN")
    return scores.reshape(-1), labels == positive


def _area(pairs: Sequence[_Pair]) -> Callable[[Counts], Floats]:
    scores = np.concatenate([values for values, _ in pairs])
    truths = np.concatenate([truth for _, truth in pairs])
    samples = np.repeat(np.arange(len(pairs)), [truth.size for _, truth in pairs])
    order = np.argsort(scores, kind="stable")
    ranked, of_sample, positives = scores[order], samples[order], truths[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])

    def some(counts: Counts) -> Floats:
        rows = counts[:, of_sample]
        above = np.add.reduceat(rows * positives, starts, axis=1)
        below = np.add.reduceat(rows * ~positives, starts, axis=1)
        lower = np.cumsum(below, axis=1) - below / 2
        return ratio((above * lower).sum(axis=1), above.sum(axis=1) * below.sum(axis=1))

    return lambda counts: in_blocks(counts, 4 * len(ranked), some)
