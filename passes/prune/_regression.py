"""Which change of a linear layer makes up best for what is missing in its input; apart from any
graph, from second moments alone, so that any number of positions takes the same memory.
"""

from __future__ import annotations

import math
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

    def change(self, strength: float, around: Array | None = None) -> Array:
        """The change of weight and bias that leaves least, held back by a ridge.

        ``C (H + λ d I)^-1`` with ``C`` and ``H`` centred where there is a bias, and ``d`` the mean
        of the diagonal of ``H``.

        Args:
            strength: λ.
            around: The change of the weight that is not held back, [groups, outputs, inputs]; None
                for none.
        """
        (found,) = self.changes(strength, (around,))
        return found

    def changes(self, strength: float, around: Sequence[Array | None]) -> list[Array]:
        """As ``change``, around several at once: the costly part is done once for all."""
        inputs, cross = self._centred()
        firsts = [np.zeros_like(cross) if one is None else one for one in around]
        left = [cross if one is None else cross - one @ inputs for one in around]
        made = _ridge(inputs, np.concatenate(left, axis=1), strength)
        parts = np.split(made, len(firsts), axis=1)
        return [self._with_bias(first + part) for first, part in zip(firsts, parts, strict=True)]

    def scaling(self, weight: Array) -> Array:
        """The multiples of each output's own weight whose addition leaves least, shaped alike.

        One number an output: what even a few positions tell.
        """
        inputs, cross = self._centred()
        power = ((weight @ inputs) * weight).sum(axis=2, keepdims=True)
        shares = (cross * weight).sum(axis=2, keepdims=True) / np.maximum(power, 1e-30)
        found: Array = shares * weight
        return found

    def _centred(self) -> tuple[Array, Array]:
        if not self.has_bias:
            return self.inputs, self.cross
        means = self.inputs[:, -1:, :-1]
        outer = means.swapaxes(1, 2) @ means / self.positions
        offsets = self.cross[:, :, -1:] @ means / self.positions
        return self.inputs[:, :-1, :-1] - outer, self.cross[:, :, :-1] - offsets

    def _with_bias(self, weight: Array) -> Array:
        """A change of the weight with the change of the bias that suits it."""
        if not self.has_bias:
            return weight
        means = self.inputs[:, -1:, :-1] / self.positions
        bias = self.cross[:, :, -1:] / self.positions - weight @ means.swapaxes(1, 2)
        return np.concatenate([weight, bias], axis=2)


def best_change(
    fit: Moments, held: Moments, weight: Array, strengths: Sequence[float]
) -> Array | None:
    """The change that did best on positions held out; None where none did better.

    Args:
        fit: What to fit to.
        held: What to choose the strength by.
        weight: As it is, [groups, outputs, inputs].
        strengths: Of the ridge, ascending, to choose from, around the weight and around its best
            multiple. From the middle on they are tried to the side where the error falls.

    Returns:
        A change for ``Moments.error``. It owes nothing to the positions held out, so that these
        stay fit to judge the layers that come after.
    """
    scaled = fit.scaling(weight)
    tried: dict[int, tuple[float, Array]] = {}

    def error_at(place: int) -> float:
        if not 0 <= place < len(strengths):
            return math.inf
        if place not in tried:
            changes = fit.changes(strengths[place], (None, scaled))
            errors = [(held.error(change), change) for change in changes]
            tried[place] = min(errors, key=lambda pair: pair[0])
        return tried[place][0]

    place = len(strengths) // 2
    step = -1 if error_at(place - 1) < error_at(place) else 1
    while error_at(place + step) < error_at(place):
        place += step
    error, best = tried[place]
    return best if error < held.error() else None


def _ridge(inputs: Array, cross: Array, strength: float) -> Array:
    mean = np.diagonal(inputs, axis1=1, axis2=2).mean(axis=1)
    ridge = (strength * mean + 1e-20)[:, np.newaxis, np.newaxis] * np.eye(inputs.shape[-1])
    found: Array = np.linalg.solve(inputs + ridge, cross.swapaxes(1, 2)).swapaxes(1, 2)
    return found
