"""Mean intersection over union of a segmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError
from onnxopt.metrics.counting import Floats, mean_of_known, ratio, totals
from onnxopt.metrics.metric import Counts, Metric, Outputs, is_float, pick_output
from onnxopt.metrics.naming import spell_metric


def mean_iou(*, ignore: int = 255, class_axis: int = 1, output: str | None = None) -> Metric:
    """Intersection over union of each class over the whole set, averaged over classes.

    A class counts where it is wanted or predicted at least once in the set.

    Args:
        ignore: Label of pixels that do not count; negative ones never do.
        class_axis: Where scores have their classes.
        output: Scores, or the classes of pixels as integers; the first output by default.
    """
    options = {"ignore": ignore, "class_axis": class_axis, "output": output}
    return Metric(
        spell_metric("mean-iou", options, {"ignore": 255, "class_axis": 1}),
        lambda outputs, label: _overlap(outputs, label, options),
        span=1,
        statistic=_mean,
    )


def _overlap(outputs: Outputs, label: Any, options: dict[str, Any]) -> npt.NDArray[np.int64]:
    """Intersection, prediction and truth of each class in pixels: [3, classes]."""
    name = options["output"]
    values = pick_output(outputs, name if name is not None else next(iter(outputs), None))
    wanted = np.asarray(label)
    if wanted.dtype.kind not in "iu":
        raise DataError(f"a label of type {wanted.dtype}", "the class of each pixel")
    classes = 0
    if is_float(values):
        axis = options["class_axis"]
        if not -values.ndim <= axis < values.ndim:
            raise DataError(f"no axis {axis} in scores of shape {list(values.shape)}")
        classes, values = values.shape[axis], values.argmax(axis=axis)
    if values.size != wanted.size:
        raise DataError(f"{wanted.size} labels for {values.size} pixels")
    found, truth = values.reshape(-1).astype(np.int64), wanted.reshape(-1).astype(np.int64)
    counted = (truth >= 0) & (truth != options["ignore"])
    found, truth = found[counted], truth[counted]
    if found.size and found.min() < 0:
        raise DataError(f"class {found.min()}", "classes from 0")
    size = max(classes, *(int(part.max(initial=-1)) + 1 for part in (found, truth)))
    parts = (found[found == truth], found, truth)
    return np.stack([np.bincount(part, minlength=size) for part in parts]).astype(np.int64)


def _mean(tables: Sequence[npt.NDArray[np.int64]]) -> Callable[[Counts], Floats]:
    size = max(table.shape[1] for table in tables)
    padded = np.stack([np.pad(t, ((0, 0), (0, size - t.shape[1]))) for t in tables])

    def value(counts: Counts) -> Floats:
        both, found, truth = (totals(counts, padded[:, part]) for part in range(3))
        return mean_of_known(ratio(both, found + truth - both))

    return value
