"""Sums over resampled sets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from onnxopt.metrics.metric import Counts

Floats = npt.NDArray[np.float64]
_BLOCK_ELEMENTS = 1 << 22


def totals(counts: Counts, features: npt.NDArray[np.generic]) -> Floats:
    """Column sums of per-sample features [samples, columns] over each draw: [draws, columns].

    Whole numbers go through BLAS, where their sums are exact in any order; floats do not, so that
    results do not depend on how many threads it uses.
    """
    columns = features.reshape(len(features), -1).astype(np.float64)
    if features.dtype.kind in "iub":
        return np.asarray(counts @ columns)
    return np.asarray(np.einsum("ds,sk->dk", counts, columns))


def in_blocks(counts: Counts, columns: int, function: Callable[[Counts], Floats]) -> Floats:
    """Apply a function that needs ``columns`` numbers a draw to a few draws at a time."""
    rows = max(1, _BLOCK_ELEMENTS // max(columns, 1))
    parts = [function(counts[start : start + rows]) for start in range(0, len(counts), rows)]
    return np.concatenate(parts)


def ratio(above: Floats, below: Floats) -> Floats:
    """The quotient, NaN where it is divided by nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan))


def mean_of_known(values: Floats) -> Floats:
    """Row means over what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))
