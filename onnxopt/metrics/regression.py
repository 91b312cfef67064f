"""Errors of regressors: MAE, MSE and R²."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError
from onnxopt.metrics.counting import Floats, ratio, totals
from onnxopt.metrics.metric import Counts, Metric, Outputs, pick_output
from onnxopt.metrics.naming import spell_metric

_Pair = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def mae(*, output: str | None = None) -> Metric:
    """Mean absolute error ``mean |y - t|`` over all elements; lower is better.

    Args:
        output: As many numbers as the label; the first float output by default.
    """

    def score(outputs: Outputs, label: Any) -> float:
        found, wanted = _pair(outputs, label, output)
        return float(np.abs(found - wanted).mean())

    return Metric(_name("mae", output), score, higher_is_better=False, weight=_size)


def mse(*, output: str | None = None) -> Metric:
    """Mean squared error ``mean (y - t)²`` over all elements; lower is better.

    Args:
        output: As many numbers as the label; the first float output by default.
    """

    def score(outputs: Outputs, label: Any) -> float:
        found, wanted = _pair(outputs, label, output)
        return float(np.square(found - wanted).mean())

    return Metric(_name("mse", output), score, higher_is_better=False, weight=_size)


def r2(*, output: str | None = None) -> Metric:
    """Coefficient of determination ``1 - sum (y - t)² / sum (t - mean t)²`` over the whole set.

    Args:
        output: As many numbers as the label; the first float output by default.
    """
    return Metric(
        _name("r2", output),
        lambda outputs, label: _pair(outputs, label, output),
        statistic=_determination,
    )


def _determination(pairs: Sequence[_Pair]) -> Callable[[Counts], Floats]:
    centre = float(np.concatenate([wanted for _, wanted in pairs]).mean())
    features = np.array(
        [
            (t.size, (t - centre).sum(), np.square(t - centre).sum(), np.square(y - t).sum())
            for y, t in pairs
        ]
    )

    def value(counts: Counts) -> Floats:
        size, first, second, error = totals(counts, features).T
        return 1 - ratio(error, second - ratio(first * first, size))

    return value


def _pair(outputs: Outputs, label: Any, output: str | None) -> _Pair:
    found = pick_output(outputs, output).astype(np.float64).reshape(-1)
    try:
        wanted = np.asarray(label, dtype=np.float64).reshape(-1)
    except (ValueError, TypeError) as error:
        raise DataError(f"label {label!r}", "numbers") from error
    if found.size != wanted.size or wanted.size == 0:
        raise DataError(f"{wanted.size} labels for {found.size} outputs")
    if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        raise DataError("an output or a label is not finite")
    return found, wanted


def _size(label: Any) -> float:
    return max(np.asarray(label).size, 1)


def _name(name: str, output: str | None) -> str:
    return spell_metric(name, {"output": output}, {})
