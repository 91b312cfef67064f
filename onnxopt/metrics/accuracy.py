"""Share of right answers: top-1, top-k and exact match."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt import literal
from onnxopt.errors import DataError, UsageError
from onnxopt.metrics.metric import Metric, Outputs, pick_output


def top1(*, output: str | None = None) -> Metric:
    """Share of rows whose largest value stands at the label (an integer, or one per row).

    Args:
        output: Scores of shape [rows, classes] or [classes]; the first float output by default.
    """
    return Metric(_name("top1", output), lambda outs, label: _hits(outs, label, output, 1), span=1)


def topk(*, k: int = 5, output: str | None = None) -> Metric:
    """Share of rows whose label is among the ``k`` largest values.

    Ties with the label's value count against it.

    Args:
        k: How many.
        output: Scores of shape [rows, classes] or [classes]; the first float output by default.

    Raises:
        UsageError: ``k`` is below 1.
    """
    if k < 1:
        raise UsageError(f"topk with k={k}", "a number from 1")
    name = _name("topk", output, k=k)
    return Metric(name, lambda outs, label: _hits(outs, label, output, k), span=1)


def exact_match(*, output: str | None = None) -> Metric:
    """Share of rows of integers, booleans or strings that equal the label.

    Args:
        output: The first output by default.
    """
    return Metric(
        _name("exact-match", output), lambda outs, label: _equal(outs, label, output), span=1
    )


def rows_of_scores(scores: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """Scores as [rows, classes].

    Raises:
        DataError: They do not divide that way.
    """
    squeezed = scores.reshape(1, -1) if rows == 1 else scores.reshape(scores.shape[0], -1)
    if squeezed.shape[0] != rows or squeezed.shape[1] == 0:
        raise DataError(f"{rows} labels for scores of shape {list(scores.shape)}")
    return squeezed


def _hits(outputs: Outputs, label: Any, output: str | None, k: int) -> float:
    labels = np.asarray(label).reshape(-1)
    if labels.dtype.kind not in "iu" or labels.size == 0:
        raise DataError(f"label {label!r}", "an integer for each row")
    scores = rows_of_scores(pick_output(outputs, output), labels.size).astype(np.float64)
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise DataError(f"label {label!r} for {scores.shape[1]} classes")
    rows = np.arange(labels.size)
    own = scores[rows, labels][:, None]
    before = np.arange(scores.shape[1]) < labels[:, None]
    ahead = (scores > own) | ((scores == own) & (before if k == 1 else True))
    ahead[rows, labels] = False
    right = (ahead.sum(axis=1) < k) & ~np.isnan(scores).any(axis=1)
    return float(right.mean())


def _equal(outputs: Outputs, label: Any, output: str | None) -> float:
    name = next(iter(outputs)) if output is None else output
    if name not in outputs:
        raise UsageError(f"the model has no output {name!r}", f"one of {', '.join(outputs)}")
    found, wanted = np.asarray(outputs[name]), np.asarray(label)
    if found.size != wanted.size or found.size == 0:
        raise DataError(f"label of shape {list(wanted.shape)} for output {list(found.shape)}")
    rows = len(wanted) if wanted.ndim else 1
    equal = found.reshape(rows, -1) == wanted.reshape(rows, -1)
    return float(np.asarray(equal, dtype=bool).all(axis=1).mean())


def _name(name: str, output: str | None, **options: int) -> str:
    parts = [f"{key}={literal.spell(value)}" for key, value in options.items()]
    parts += [] if output is None else [f"output={literal.spell(output)}"]
    return f"{name}{{{', '.join(parts)}}}" if parts else name
