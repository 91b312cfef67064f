"""Agreement with a reference model, without labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError, UsageError
from onnxopt.metrics.metric import Metric, Outputs, is_float, pick_output
from onnxopt.metrics.naming import spell_metric


def cosine(*, output: str | None = None) -> Metric:
    """Cosine of the angle between the output of a model and of the reference.

    Args:
        output: The first float output by default.
    """

    def score(outputs: Outputs, reference: Any) -> float:
        a, b = (side.reshape(-1) for side in _both(outputs, reference, output))
        lengths = float(np.sqrt((a * a).sum()) * np.sqrt((b * b).sum()))
        if lengths == 0.0:
            return float(not a.any() and not b.any())
        return float(np.clip((a * b).sum() / lengths, -1.0, 1.0))

    return Metric(spell_metric("cosine", {"output": output}, {}), score, against="reference")


def argmax_agreement(*, output: str | None = None) -> Metric:
    """Share of rows along the last axis whose largest value stands where the reference has it.

    Args:
        output: The first float output by default.
    """

    def score(outputs: Outputs, reference: Any) -> float:
        a, b = _both(outputs, reference, output)
        if a.ndim == 0 or a.size == 0:
            raise DataError(f"an output of shape {list(a.shape)}", "rows of scores")
        return float((a.argmax(axis=-1) == b.argmax(axis=-1)).mean())

    name = spell_metric("argmax-agreement", {"output": output}, {})
    return Metric(name, score, span=1, against="reference")


def _both(
    outputs: Outputs, reference: Any, output: str | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if not isinstance(reference, dict):
        raise DataError("a label instead of a reference model's outputs", "two models")
    if output is not None and not is_float(reference.get(output)):
        raise UsageError(f"the reference has no output {output!r} of floats")
    a, b = (pick_output(side, output).astype(np.float64) for side in (outputs, reference))
    if a.shape != b.shape:
        raise DataError(f"an output of shape {list(a.shape)}", f"the reference's {list(b.shape)}")
    return a, b
