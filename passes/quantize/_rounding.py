"""Rounding a weight so that the errors of its codes cancel on the data; apart from any graph.

With ``H = X X^T`` over the layer's inputs and one weight after the other rounded, what is left of
its error is spread over those not yet rounded: ``w_j -= (w_i - q_i) U_ij / U_ii`` with the upper
Cholesky factor ``U`` of ``H^-1`` (GPTQ, Frantar et al. 2022, after optimal brain quantization).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_BLOCK = 32


def round_jointly(
    weight: Array, scales: Array, hessian: Array, top: int, damping: float = 0.01
) -> Array:
    """Codes whose product with the data errs least.

    Args:
        weight: float64 [groups, outputs, inputs].
        scales: [groups, outputs].
        hessian: Second moments of the inputs, [groups, inputs, inputs].
        top: The greatest code.
        damping: Added to the hessian's diagonal, as a share of its mean.
    """
    inputs = weight.shape[-1]
    order = np.argsort(-np.diagonal(hessian, axis1=1, axis2=2).sum(0), kind="stable")
    rest = np.ascontiguousarray(np.swapaxes(weight[:, :, order], 1, 2))  # an input a row
    factor = _upper_factor(hessian[:, order][:, :, order], damping)
    codes = np.zeros_like(rest)
    for start in range(0, inputs, _BLOCK):
        end = min(start + _BLOCK, inputs)
        errors = np.zeros_like(rest[:, start:end])
        for at in range(start, end):
            codes[:, at] = np.clip(np.rint(rest[:, at] / scales), -top, top)
            row = factor[:, at]
            error = (rest[:, at] - codes[:, at] * scales) / row[:, at, np.newaxis]
            rest[:, at:end] -= row[:, at:end, np.newaxis] * error[:, np.newaxis]
            errors[:, at - start] = error
        rest[:, end:] -= np.swapaxes(factor[:, start:end, end:], 1, 2) @ errors
    made = np.empty_like(weight, np.float64)
    made[:, :, order] = np.swapaxes(codes, 1, 2)
    return made


def _upper_factor(hessian: Array, damping: float) -> Array:
    """The upper Cholesky factor of the damped hessian's inverse."""
    inputs = hessian.shape[-1]
    diagonal = np.diagonal(hessian, axis1=1, axis2=2)
    least = np.maximum(damping * diagonal.mean(axis=1), 1e-12)
    damped = hessian + least[:, np.newaxis, np.newaxis] * np.eye(inputs)
    lower = np.linalg.cholesky(damped[:, ::-1, ::-1])  # H = R R^T with R upper, H^-1 = R^-T R^-1
    return _inverse_of_upper(lower[:, ::-1, ::-1])


def _inverse_of_upper(matrix: Array) -> Array:
    """The inverse of upper triangles, a sixth of the work of inverting any matrix."""
    size = matrix.shape[-1]
    if size <= _BLOCK:
        made: Array = np.triu(np.linalg.inv(matrix))
        return made
    half = size // 2
    first, last = (_inverse_of_upper(matrix[:, at, at]) for at in (slice(half), slice(half, None)))
    made = np.zeros_like(matrix)
    made[:, :half, :half], made[:, half:, half:] = first, last
    made[:, :half, half:] = -(first @ matrix[:, :half, half:]) @ last
    return made
