"""Which change of a linear layer makes up best for what is missing in its input; apart from any
graph, from second moments alone, so that any number of positions takes the same memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Moments:
    """Sums of products of a layer's inputs ``x`` and of what is left to wish for, ``r``.

    With a bias, the inputs have a constant 1 behind them.

    Args:
        groups: Of the layer.
        inputs: Of a group.
        outputs: Of a group.
        has_bias: Whether a bias may be fitted too.
    """

    def __init__(self, groups: int, inputs: int, outputs: int, *, has_bias: bool) -> None:
        self.has_bias = has_bias
        width = inputs + has_bias
        self.positions = 0
        self.inputs = np.zeros((groups, width, width))
        self.cross = np.zeros((groups, outputs, width))
        self.left = np.zeros((groups, outputs))
        self.wanted = np.zeros((groups, outputs))
        self.wanted_squared = np.zeros((groups, outputs))

    def add(self, x: Array, residue: Array, wanted: Array) -> None:
        """Count some positions in.

        Args:
            x: What the layer reads, float32 [groups, positions, inputs].
            residue: What is wanted less what the layer gives, [groups, positions, outputs].
            wanted: What is wanted, shaped alike.
        """
        if self.has_bias:
            x = np.concatenate([x, np.ones((*x.shape[:2], 1), x.dtype)], axis=2)
        self.positions += x.shape[1]
        self.inputs += x.swapaxes(1, 2) @ x
        self.cross += residue.swapaxes(1, 2) @ x
        self.left += np.square(residue, dtype=np.float64).sum(axis=1)
        self.wanted += wanted.sum(axis=1, dtype=np.float64)
        self.wanted_squared += np.square(wanted, dtype=np.float64).sum(axis=1)

    def error(self, change: Array | None = None) -> float:
        """The square of the relative L2 error that a change of weight and bias leaves.

        Args:
            change: [groups, outputs, inputs and bias]; None for none.
        """
        left = float(self.left.sum())
        if change is not None:
            left -= 2 * float((change * self.cross).sum())
            left += float(((change @ self.inputs) * change).sum())
        variance = self.wanted_squared - self.wanted**2 / max(self.positions, 1)
        return max(left, 0.0) / max(float(variance.sum()), 1e-30)

    def change(self, strength: float) -> Array:
        """The change of weight and bias that leaves least, held back by a ridge.

        ``C (H + λ d I)^-1`` with ``C`` and ``H`` centred where there is a bias, and ``d`` the mean
        of the diagonal of ``H``.
        """
        inputs, cross = self.inputs, self.cross
        if self.has_bias:
            means = inputs[:, -1:, :-1] / self.positions
            offsets = cross[:, :, -1:] / self.positions
            inputs = inputs[:, :-1, :-1] - self.positions * means.swapaxes(1, 2) @ means
            cross = cross[:, :, :-1] - self.positions * offsets @ means
        weight = _ridge(inputs, cross, strength)
        if not self.has_bias:
            return weight
        bias = offsets - weight @ means.swapaxes(1, 2)
        return np.concatenate([weight, bias], axis=2)


def best_change(fit: Moments, held: Moments, strengths: Sequence[float]) -> Array | None:
    """The change whose strength did best on positions held out; None where none did better.

    Args:
        fit: What to fit to.
        held: What to choose the strength by.
        strengths: Those to choose from.

    Returns:
        A change for ``Moments.error``. It owes nothing to the positions held out, so that these
        stay fit to judge the layers that come after.
    """
    changes = [fit.change(strength) for strength in strengths]
    best = min(changes, key=held.error)
    return best if held.error(best) < held.error() else None


def _ridge(inputs: Array, cross: Array, strength: float) -> Array:
    mean = np.diagonal(inputs, axis1=1, axis2=2).mean(axis=1)
    ridge = (strength * mean + 1e-20)[:, np.newaxis, np.newaxis] * np.eye(inputs.shape[-1])
    found: Array = np.linalg.solve(inputs + ridge, cross.swapaxes(1, 2)).swapaxes(1, 2)
    return found
