"""F1 of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError
from onnxopt.metrics.accuracy import rows_of_scores
from onnxopt.metrics.counting import Floats, mean_of_known, ratio, totals
from onnxopt.metrics.metric import Counts, Metric, Outputs, is_float, pick_output
from onnxopt.metrics.naming import spell_metric

Average = Literal["macro", "weighted"]
_Pair = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def f1(*, average: Average = "macro", output: str | None = None) -> Metric:
    """F1 over the whole set: ``2 tp / (2 tp + fp + fn)`` of each class, averaged over classes.

    A class counts where it is wanted or predicted at least once in the set.

    Args:
        average: ``macro`` for equal classes, ``weighted`` by how often each is wanted.
        output: Scores of shape [rows, classes] or [classes], or the classes themselves as
            integers or strings; the first float output by default, else the first output.
    """
    name = spell_metric("f1", {"average": average, "output": output}, {"average": "macro"})

    def statistic(pairs: Sequence[_Pair]) -> Callable[[Counts], Floats]:
        hits, found, wanted = _tables(pairs)

        def value(counts: Counts) -> Floats:
            support = totals(counts, wanted)
            scores = ratio(2 * totals(counts, hits), support + totals(counts, found))
            if average == "macro":
                return mean_of_known(scores)
            return ratio((np.nan_to_num(scores) * support).sum(axis=1), support.sum(axis=1))

        return value

    return Metric(
        name,
        lambda outputs, label: predicted(outputs, label, output),
        span=1,
        statistic=statistic,
    )


def predicted(outputs: Outputs, label: Any, output: str | None) -> _Pair:
    """Predicted and wanted class of each row.

    Raises:
        DataError: They are not as many.
    """
    wanted = np.asarray(label).reshape(-1)
    if wanted.size == 0 or wanted.dtype.kind == "f":
        raise DataError(f"label {label!r}", "a class for each row")
    values = _classes(outputs, output)
    if is_float(values):
        values = rows_of_scores(values, wanted.size).argmax(axis=1)
    if values.size != wanted.size:
        raise DataError(f"{wanted.size} labels for {values.size} predictions")
    return values.reshape(-1), wanted


def _classes(outputs: Outputs, output: str | None) -> npt.NDArray[Any]:
    has_floats = any(is_float(value) for value in outputs.values())
    if output is None and outputs and not has_floats:
        return np.asarray(next(iter(outputs.values())))
    return pick_output(outputs, output)


def _tables(
    pairs: Sequence[_Pair],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Hits, predictions and wanted rows of each sample and class, [samples, classes]."""
    guesses = np.concatenate([guess for guess, _ in pairs])
    truths = np.concatenate([truth for _, truth in pairs])
    classes, codes = np.unique(np.concatenate([guesses, truths]), return_inverse=True)
    guess, truth = codes[: len(guesses)], codes[len(guesses) :]
    samples = np.repeat(np.arange(len(pairs)), [len(found) for found, _ in pairs])
    shape = (len(pairs), len(classes))
    hits, found, wanted = (np.zeros(shape, np.int64) for _ in range(3))
    np.add.at(found, (samples, guess), 1)
    np.add.at(wanted, (samples, truth), 1)
    right = guess == truth
    np.add.at(hits, (samples[right], truth[right]), 1)
    return hits, found, wanted
