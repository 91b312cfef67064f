"""Detection: boxes found against boxes wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError
from onnxopt.metrics.counting import Floats, ratio, totals
from onnxopt.metrics.metric import Counts, Metric, Outputs, pick_output
from onnxopt.metrics.naming import spell_metric

Boxes = npt.NDArray[np.float64]
"""[boxes, 4]: left, top, right, bottom."""

COORDINATES = 4
IOU = 0.5


def hmean(*, iou: float = IOU, output: str | None = None) -> Metric:
    """Harmonic mean of precision and recall of boxes over the whole set, as for text detection.

    Boxes are matched one to one, the largest overlap first.

    Args:
        iou: The overlap that a match needs, as intersection over union.
        output: Boxes [boxes, 4] as left, top, right, bottom, or [1, boxes, 4]; the first float
            output by default. The label holds the wanted ones, [boxes, 4].
    """
    name = spell_metric("hmean", {"iou": iou, "output": output}, {"iou": IOU})
    return hmean_of(name, lambda outputs: pick_output(outputs, output), iou)


def hmean_of(name: str, find: Callable[[Outputs], npt.NDArray[Any]], iou: float = IOU) -> Metric:
    """``hmean`` with boxes that a function takes from the outputs."""

    def observe(outputs: Outputs, label: Any) -> tuple[int, int, int]:
        found, wanted = as_boxes(find(outputs)), as_boxes(label)
        return matched(found, wanted, iou), len(found), len(wanted)

    return Metric(name, observe, span=1, statistic=_harmonic)


def _harmonic(triples: Sequence[tuple[int, int, int]]) -> Callable[[Counts], Floats]:
    features = np.array(triples, np.int64)

    def value(counts: Counts) -> Floats:
        hits, found, wanted = totals(counts, features).T
        return ratio(2 * hits, found + wanted)

    return value


def as_boxes(values: Any) -> Boxes:
    """Boxes as [boxes, 4].

    Raises:
        DataError: They have no four coordinates.
    """
    array = np.asarray(values)
    if array.size == 0:
        return np.zeros((0, COORDINATES))
    if array.dtype.kind not in "iuf" or array.shape[-1] != COORDINATES:
        raise DataError(f"boxes of shape {list(array.shape)}", "[boxes, 4]")
    return array.reshape(-1, COORDINATES).astype(np.float64)


def overlaps(a: Boxes, b: Boxes) -> npt.NDArray[np.float64]:
    """Intersection over union of each pair, [len(a), len(b)]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    union = _areas(a)[:, None] + _areas(b)[None, :] - both
    return np.asarray(np.where(union > 0, both / np.where(union > 0, union, 1), 0.0))


def matched(found: Boxes, wanted: Boxes, iou: float) -> int:
    """How many boxes pair up, the largest overlap first."""
    table = overlaps(found, wanted)
    pairs = np.argwhere(table >= iou)
    order = np.argsort(-table[pairs[:, 0], pairs[:, 1]], kind="stable")
    left: set[int] = set()
    right: set[int] = set()
    for a, b in pairs[order].tolist():
        if a not in left and b not in right:
            left.add(a)
            right.add(b)
    return len(left)


def _areas(boxes: Boxes) -> npt.NDArray[np.float64]:
    return np.asarray(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1))
