"""The linear problem behind one layer: which weight makes what the layer should give of what it
gets, and which codes come closest; apart from any graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Part:
    """Some positions of a layer.

    Attributes:
        inputs: float32 [groups, positions, inputs].
        wanted: float32 [groups, positions, outputs], bias included.
        centred: Whether the layer's bias may follow, so that means do not count.
    """

    inputs: Array
    wanted: Array
    centred: bool

    @property
    def positions(self) -> int:
        """Number of positions."""
        return int(self.inputs.shape[1])

    @cached_property
    def moments(self) -> Array:
        """Second moments of the inputs, float64 [groups, inputs, inputs]."""
        x = self._around_mean(self.inputs)
        made: Array = (x.swapaxes(1, 2) @ x / np.float32(self.positions)).astype(np.float64)
        return made

    def residue(self, weight: Array, bias: Array) -> Array:
        """What a weight leaves to wish for, float32 [groups, positions, outputs]."""
        made = self.inputs @ weight.astype(np.float32).swapaxes(1, 2)
        found: Array = self.wanted - made - bias[:, np.newaxis].astype(np.float32)
        return self._around_mean(found)

    def error(self, weight: Array, bias: Array) -> float:
        """Mean square of what a weight leaves to wish for, over that of what is wanted."""
        signal = float(np.mean(self._around_mean(self.wanted) ** 2))
        return float(np.mean(self.residue(weight, bias) ** 2)) / max(signal, 1e-30)

    def cross(self, weight: Array, bias: Array) -> Array:
        """Moments of that with the inputs, float64 [groups, outputs, inputs]."""
        x = self._around_mean(self.inputs)
        left = self.residue(weight, bias).swapaxes(1, 2)
        made: Array = (left @ x / np.float32(self.positions)).astype(np.float64)
        return made

    def _around_mean(self, values: Array) -> Array:
        return values - values.mean(axis=1, keepdims=True) if self.centred else values


def steps(moments: Array, cross: Array, strengths: Sequence[float]) -> list[Array]:
    """Changes of a weight towards least squares, one for each strength of holding back.

    ``C (H + λ d I)^-1`` with ``d`` the mean of the diagonal of ``H``: ridge regression around the
    weight as it is.
    """
    inputs = moments.shape[-1]
    mean = np.diagonal(moments, axis1=1, axis2=2).mean(axis=1)
    found = []
    for strength in strengths:
        ridge = (strength * mean + 1e-20)[:, np.newaxis, np.newaxis] * np.eye(inputs)
        found.append(np.linalg.solve(moments + ridge, cross.swapaxes(1, 2)).swapaxes(1, 2))
    return found
