"""What a metric is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError, UsageError

Outputs = Mapping[str, Any]
"""Output name to value, in the model's order."""

Counts = npt.NDArray[np.float64]
"""How often each draw holds each sample, [draws, samples]."""

Statistic = Callable[[Sequence[Any]], Callable[[Counts], npt.NDArray[np.float64]]]
"""Takes what each sample contributes and gives back a function from counts to one value a draw,
NaN where a draw has none; the set as it is has a count of 1 for each sample."""


def one(label: object) -> float:
    """The weight of a sample where all weigh the same."""
    return 1.0


@dataclass(frozen=True)
class Metric:
    """A score of one sample or, with a ``statistic``, what a sample contributes to the set's score.

    Without a statistic the data set's score is the weighted mean over samples.

    Attributes:
        name: Its spelling, which ``metric`` parses back.
        score: ``(outputs, label) -> number``; raises ``DataError`` where they do not fit. With a
            statistic it returns whatever that takes.
        higher_is_better: Which way is up.
        weight: What a sample counts, from its label (the length of a text, for example).
        span: The difference between the best and the worst score; None where there is no such
            bound.
        statistic: Makes the set's score of all contributions, where it is no mean of numbers.
        against: What outputs are compared with: the sample's label, or the outputs of the
            reference model, which takes the label's place.
    """

    name: str
    score: Callable[[Outputs, Any], Any]
    higher_is_better: bool = True
    weight: Callable[[Any], float] = one
    span: float | None = None
    statistic: Statistic | None = None
    against: Literal["label", "reference"] = "label"

    def __call__(self, outputs: Outputs, label: object, where: str = "sample") -> float:
        """The score of one sample as a finite number.

        Raises:
            UsageError: The metric scores sets only.
            DataError: There is no label, it does not fit, or the score is not finite.
        """
        if self.statistic is not None:
            raise UsageError(f"{self.name} is a score of a whole set", "a score of one sample")
        return float(self.observe(outputs, label, where))

    def observe(self, outputs: Outputs, label: object, where: str = "sample") -> Any:
        """What one sample contributes: a finite number, or what the statistic takes.

        Raises:
            DataError: There is no label, it does not fit, or the score is not finite.
        """
        if label is None:
            raise DataError(f"{where} has no label", f"one, {self.name} compares with it")
        try:
            value = self.score(outputs, label)
            number = None if self.statistic is not None else float(value)
        except UsageError:
            raise
        except DataError as error:
            raise DataError(f"{where}: {self.name}: {error}") from error
        except Exception as error:  # a metric may be anybody's code
            cause = f"{type(error).__name__}: {error}"
            raise DataError(f"{where}: {self.name} raised {cause}") from error
        if number is not None and not math.isfinite(number):
            raise DataError(f"{where}: {self.name} is {number}", "a finite number")
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
