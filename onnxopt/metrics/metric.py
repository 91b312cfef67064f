"""What a metric is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError, UsageError

Outputs = Mapping[str, Any]
"""Output name to value, in the model's order."""


def one(label: object) -> float:
    """The weight of a sample where all weigh the same."""
    return 1.0


@dataclass(frozen=True)
class Metric:
    """A score of one sample; the data set's score is the weighted mean over samples.

    Attributes:
        name: Its spelling, which ``metric`` parses back.
        score: ``(outputs, label) -> number``; raises ``DataError`` where they do not fit.
        higher_is_better: Which way is up.
        weight: What a sample counts, from its label (the length of a text, for example).
        span: The difference between the best and the worst score a sample can get; None where
            there is no such bound.
    """

    name: str
    score: Callable[[Outputs, Any], float]
    higher_is_better: bool = True
    weight: Callable[[Any], float] = one
    span: float | None = None

    def __call__(self, outputs: Outputs, label: object, where: str = "sample") -> float:
        """The score as a finite number.

        Raises:
            DataError: There is no label, it does not fit, or the score is not finite.
        """
        if label is None:
            raise DataError(f"{where} has no label", f"one, {self.name} compares with it")
        try:
            value = float(self.score(outputs, label))
        except DataError as error:
            raise DataError(f"{where}: {self.name}: {error}") from error
        if not math.isfinite(value):
            raise DataError(f"{where}: {self.name} is {value}", "a finite number")
        return value


def pick_output(outputs: Outputs, name: str | None) -> npt.NDArray[Any]:
    """The named output, or the first one of floats.

    Raises:
        UsageError: There is no such output.
    """
    if name is not None and name not in outputs:
        raise UsageError(f"the model has no output {name!r}", f"one of {', '.join(outputs)}")
    if name is not None:
        return np.asarray(outputs[name])
    for value in outputs.values():
        if is_float(value):
            return np.asarray(value)
    raise UsageError("the model has no output of floats", todo="name one, as in top1{output=y}")


def is_float(value: object) -> bool:
    """Whether a value is a tensor of floats, those of ``ml_dtypes`` included."""
    if not isinstance(value, np.ndarray):
        return False
    return value.dtype.kind == "f" or "float" in value.dtype.name
