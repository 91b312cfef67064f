"""Average precision of a detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError
from onnxopt.metrics.boxes import COORDINATES, IOU, Boxes, as_boxes, overlaps
from onnxopt.metrics.counting import Floats, in_blocks, mean_of_known, ratio
from onnxopt.metrics.metric import Counts, Metric, Outputs, pick_output
from onnxopt.metrics.naming import spell_metric


def average_precision(
    *,
    iou: float = IOU,
    boxes: str = "boxes",
    scores: str = "scores",
    classes: str = "labels",
) -> Metric:
    """Area under the precision-recall curve of each class over the whole set, averaged.

    Precision is made monotone and integrated over all recalls (Everingham et al., 2010). Of the
    detections of a wanted box the surest is right and the others are wrong.

    Args:
        iou: The overlap that a match needs, as intersection over union.
        boxes: The output with boxes [boxes, 4] as left, top, right, bottom.
        scores: The output with their confidences.
        classes: The output with their classes. The label of a sample is [boxes, 5]: class, left,
            top, right, bottom.
    """
    names = {"boxes": boxes, "scores": scores, "classes": classes}
    defaults = {"iou": IOU, "boxes": "boxes", "scores": "scores", "classes": "labels"}
    return Metric(
        spell_metric("ap", {"iou": iou, **names}, defaults),
        lambda outputs, label: _judge(outputs, label, names, iou),
        span=1,
        statistic=_mean,
    )


@dataclass(frozen=True)
class _Judged:
    """One sample: each detection's class, confidence and rightness; the wanted classes."""

    classes: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    wanted: npt.NDArray[np.int64]


def _judge(outputs: Outputs, label: Any, names: dict[str, str], iou: float) -> _Judged:
    found = as_boxes(pick_output(outputs, names["boxes"]))
    scores = pick_output(outputs, names["scores"]).astype(np.float64).reshape(-1)
    classes = pick_output(outputs, names["classes"]).astype(np.int64).reshape(-1)
    if not len(found) == len(scores) == len(classes):
        raise DataError(f"{len(found)} boxes, {len(scores)} scores and {len(classes)} classes")
    table = np.asarray(label)
    if table.size and (table.dtype.kind not in "iuf" or table.shape[-1] != COORDINATES + 1):
        raise DataError(f"a label of shape {list(table.shape)}", "[boxes, 5], the class first")
    rows = table.reshape(-1, COORDINATES + 1).astype(np.float64)
    wanted = rows[:, 0].astype(np.int64)
    order = np.argsort(-scores, kind="stable")
    right = _right(found[order], classes[order], rows[:, 1:], wanted, iou)
    return _Judged(classes[order], scores[order], right, wanted)


def _right(
    found: Boxes,
    classes: npt.NDArray[np.int64],
    truth: Boxes,
    wanted: npt.NDArray[np.int64],
    iou: float,
) -> npt.NDArray[np.bool_]:
    """For detections from the surest on: whether each takes a wanted box nobody has."""
    table = overlaps(found, truth)
    table[classes[:, None] != wanted[None, :]] = -1.0
    right = np.zeros(len(found), bool)
    for row in np.flatnonzero((table >= iou).any(axis=1)):
        best = int(table[row].argmax())
        if table[row, best] >= iou:
            right[row] = True
            table[:, best] = -1.0
    return right


def _mean(judged: Sequence[_Judged]) -> Callable[[Counts], Floats]:
    known = np.unique(np.concatenate([j.wanted for j in judged]))
    curves = [_curve(judged, int(label)) for label in known]

    def value(counts: Counts) -> Floats:
        if not curves:
            return np.full(len(counts), np.nan)
        return mean_of_known(np.stack([curve(counts) for curve in curves], axis=1))

    return value


def _curve(judged: Sequence[_Judged], label: int) -> Callable[[Counts], Floats]:
    """The average precision of one class."""
    masks = [j.classes == label for j in judged]
    scores = np.concatenate([j.scores[mask] for j, mask in zip(judged, masks, strict=True)])
    right = np.concatenate([j.right[mask] for j, mask in zip(judged, masks, strict=True)])
    samples = np.repeat(np.arange(len(judged)), [int(mask.sum()) for mask in masks])
    order = np.argsort(-scores, kind="stable")
    of_sample, hit = samples[order], right[order]
    truths = np.array([(j.wanted == label).sum() for j in judged])

    def some(counts: Counts) -> Floats:
        rows = counts[:, of_sample]
        hits = rows * hit
        precision = ratio(np.cumsum(hits, axis=1), np.cumsum(rows, axis=1))
        best = np.maximum.accumulate(np.nan_to_num(precision)[:, ::-1], axis=1)[:, ::-1]
        return ratio((hits * best).sum(axis=1), counts @ truths.astype(np.float64))

    return lambda counts: in_blocks(counts, 5 * len(hit), some)
