"""How much is lost with each channel that a layer reads, once others make up for it: numbers only.

A layer with weight ``V`` [inputs, outputs] over inputs with covariance ``H`` loses, without the
inputs ``B`` and with the best weight for the rest, ``tr((H^-1)_BB^-1 (V V^T)_BB)``: the optimal
brain surgeon of Hassibi and Stork (1993), for whole inputs as in Kurtic et al. (2023), "ZipLM".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_STEPS = 48
_COMPACT = 0.2  # share of rows and columns that may be left over


class Reading:
    """A layer that reads all units of a group, from which units are taken out.

    Of its inputs, those of the units are all that losses and updates look at.

    Args:
        covariance: Of its inputs, [inputs, inputs], or their variances, [inputs].
        gram: ``V V^T`` of its weight, [inputs, inputs].
        places: Each unit's inputs, [units, k].
        damping: What is added to the diagonal, as a share of its mean.
    """

    def __init__(self, covariance: Array, gram: Array, places: Array, damping: float) -> None:
        full = np.diag(covariance) if covariance.ndim == 1 else covariance
        mean = float(np.diagonal(full).mean()) or 1.0
        self.power = max(float((gram * full).sum()), 1e-30)
        own = np.ix_(places.reshape(-1), places.reshape(-1))
        self._inverse = np.linalg.inv(full + damping * mean * np.eye(len(full)))[own]
        self._gram = gram[own]
        self._places = np.arange(places.size).reshape(places.shape)
        self._gone = np.zeros(places.size, np.bool_)

    def losses(self, units: Array) -> Array:
        """What is lost with each of some units alone, as shares of the output's power."""
        at = self._places[units]
        rows, columns = at[:, :, np.newaxis], at[:, np.newaxis, :]
        if at.shape[1] == 1:
            inverse, gram = self._inverse[at, at], self._gram[at, at]
            found: Array = (gram / np.maximum(inverse, 1e-30))[:, 0]
        else:
            solved = np.linalg.solve(self._inverse[rows, columns], self._gram[rows, columns])
            found = np.trace(solved, axis1=1, axis2=2)
        return np.maximum(found, 0.0) / self.power

    def remove(self, units: Array) -> None:
        """Take units out and let the rest make up for them."""
        at = self._places[units].reshape(-1)
        block = self._inverse[np.ix_(at, at)]
        block = block + np.eye(len(at)) * 1e-12 * max(float(np.trace(block)) / len(at), 1e-30)
        moved = np.linalg.solve(block, self._inverse[at]).T
        own = self._gram[np.ix_(at, at)]
        across = moved @ self._gram[at]
        self._gram += moved @ own @ moved.T - across - across.T
        self._inverse -= moved @ self._inverse[at]
        self._gram[at] = self._gram[:, at] = 0.0
        self._inverse[at] = self._inverse[:, at] = 0.0
        self._inverse[at, at] = 1.0
        self._gone[at] = True
        if self._gone.sum() > _COMPACT * len(self._gone):
            self._compact()

    def _compact(self) -> None:
        """Leave rows and columns out that are gone, so that what is left takes less to compute."""
        left = np.flatnonzero(~self._gone)
        self._places = (np.cumsum(~self._gone) - 1)[self._places]
        self._inverse = self._inverse[np.ix_(left, left)]
        self._gram = self._gram[np.ix_(left, left)]
        self._gone = np.zeros(len(left), np.bool_)


def eliminate(readings: Sequence[Reading], units: int) -> tuple[Array, Array]:
    """Take units out greedily, those first with which least is lost.

    Args:
        readings: All that read them.
        units: How many there are.

    Returns:
        The units in the order they go, and the share of the outputs' power, summed over readers,
        that is lost with each on top of those before; float64 [units] both.
    """
    left = np.arange(units)
    order: list[Array] = []
    lost: list[Array] = []
    step = -(-units // _STEPS)
    while len(left):
        losses = np.sum([reading.losses(left) for reading in readings], axis=0)
        first = np.argsort(losses, kind="stable")[:step]
        order.append(left[first])
        lost.append(losses[first])
        if len(first) < len(left):
            for reading in readings:
                reading.remove(left[first])
        left = np.delete(left, first)
    return np.concatenate(order), np.maximum.accumulate(np.concatenate(lost))
