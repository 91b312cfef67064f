"""Means of a few samples, trusted as far as the samples agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def shrunk_mean(values: Array) -> Array:
    """The mean over axis 0, shrunk towards zero by its own uncertainty.

    ``m (1 - v / m^2)`` where that is positive, else 0, with ``v`` the variance of the mean: the
    positive-part estimator of James and Stein (1961), for each number by itself.
    """
    count = values.shape[0]
    mean: Array = values.mean(axis=0)
    if count == 1:  # one sample does not tell how sure it is
        return mean
    variance = values.var(axis=0, ddof=1) / count
    with np.errstate(all="ignore"):
        trust = np.where(mean != 0, 1 - variance / mean**2, 0.0)
    made: Array = mean * np.maximum(trust, 0.0)
    return made
