"""Boxes from a text probability map (DB: Liao et al., 2020), with numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError
from onnxopt.metrics import Outputs

THRESHOLD = 0.3
LEAST_SCORE = 0.5
UNCLIP = 1.6
LEAST_SIDE = 3

Region = tuple[int, int, int, int]


def find_boxes(outputs: Outputs) -> npt.NDArray[np.float64]:
    """Upright boxes [boxes, 4] as left, top, right, bottom.

    Connected regions above .3 whose rectangle's mean is at least .5, grown by 1.6 times area over
    perimeter, as PP-OCR does it for boxes of any angle.

    Raises:
        DataError: The first output is no map [1, 1, height, width].
    """
    name, value = next(iter(outputs.items()))
    if np.ndim(value) != 4 or np.shape(value)[:2] != (1, 1):
        raise DataError(f"the output {name} is {list(np.shape(value))}", "[1, 1, height, width]")
    chances = np.asarray(value, np.float64)[0, 0]
    boxes = [_grown(region) for region in regions(chances > THRESHOLD) if _is_text(chances, region)]
    return np.array(boxes, np.float64).reshape(-1, 4)


def regions(mask: npt.NDArray[np.bool_]) -> list[Region]:
    """The rectangle around each region of touching pixels, corners included."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    edges = np.diff(padded, axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    parents = np.arange(len(rows))
    first_of_row = np.searchsorted(rows, np.arange(mask.shape[0] + 1))
    for row in range(1, mask.shape[0]):
        _join(parents, starts, ends, first_of_row[row - 1 : row + 2])
    roots = np.array([_root(parents, run) for run in range(len(rows))], dtype=np.intp)
    known, own = np.unique(roots, return_inverse=True)
    boxes = np.zeros((len(known), 4), np.int64)
    boxes[:, :2] = mask.size
    np.minimum.at(boxes[:, 0], own, starts)
    np.minimum.at(boxes[:, 1], own, rows)
    np.maximum.at(boxes[:, 2], own, ends)
    np.maximum.at(boxes[:, 3], own, rows + 1)
    return [(left, top, right, bottom) for left, top, right, bottom in boxes.tolist()]


def _join(
    parents: npt.NDArray[Any],
    starts: npt.NDArray[Any],
    ends: npt.NDArray[Any],
    limits: npt.NDArray[Any],
) -> None:
    """Join the runs of two neighbouring rows that touch."""
    above, below, stop = (int(limit) for limit in limits)
    a, b = above, below
    while a < below and b < stop:
        if starts[a] <= ends[b] and starts[b] <= ends[a]:
            parents[_root(parents, b)] = _root(parents, a)
        if ends[a] < ends[b]:
            a += 1
        else:
            b += 1


def _root(parents: npt.NDArray[Any], run: int) -> int:
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = int(parents[run])
    return run


def _is_text(chances: npt.NDArray[np.float64], region: Region) -> bool:
    left, top, right, bottom = region
    if min(right - left, bottom - top) < LEAST_SIDE:
        return False
    return float(chances[top:bottom, left:right].mean()) >= LEAST_SCORE


def _grown(region: Region) -> tuple[float, float, float, float]:
    left, top, right, bottom = region
    width, height = right - left, bottom - top
    by = width * height * UNCLIP / (2 * (width + height))
    return left - by, top - by, right + by, bottom + by
