"""The range whose codes have the least expected squared error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from onnxopt.calibrate.grids import Grid, Spread

Ends = tuple[float, float]
_Cost = Callable[[Ends], float]
_FACTOR = 2**0.5  # from one coarse candidate to the next
_COARSE = 64
_ROUNDS = 2
_STEPS = 8
_GOLDEN = (5**0.5 - 1) / 2


def least_error_ends(spread: Spread, grid: Grid) -> Ends:
    """The range, zero included, that minimises ``spread.squared_error``; never worse than whole.

    Coarse candidates clip both sides at the same magnitude. They stop where the error is twice the
    least: it then comes from clipping, which only grows. Then the magnitude (symmetric grids) or
    each end in turn is refined by golden sections (Kiefer, 1953).
    """
    whole = spread.ends

    def cost(ends: Ends) -> float:
        return spread.squared_error(*ends, grid)

    def clipped(limit: float) -> Ends:
        return max(whole[0], -limit), min(whole[1], limit)

    limit = _coarse(max(-whole[0], whole[1]), lambda at: cost(clipped(at)))
    if grid.symmetric:
        return clipped(_refined(limit, lambda at: cost(clipped(at))))
    low, high = clipped(limit)
    for _ in range(_ROUNDS):
        high = min(_refined(high, partial(_upper_cost, cost, low, whole[1])), whole[1])
        low = max(-_refined(-low, partial(_lower_cost, cost, high, whole[0])), whole[0])
    return low, high


def _upper_cost(cost: _Cost, low: float, top: float, at: float) -> float:
    return cost((low, min(at, top)))


def _lower_cost(cost: _Cost, high: float, bottom: float, at: float) -> float:
    return cost((max(-at, bottom), high))


def _coarse(limit: float, cost: Callable[[float], float]) -> float:
    best, least = limit, cost(limit)
    for _ in range(_COARSE):
        limit /= _FACTOR
        found = cost(limit)
        if found < least:
            best, least = limit, found
        elif found > 2 * least:
            break
    return best


def _refined(start: float, cost: Callable[[float], float]) -> float:
    """The best of ``start`` and what golden sections find around it."""
    if start <= 0:
        return start
    low, high = start / _FACTOR, start * _FACTOR
    seen = [(cost(start), start)]
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = cost(left), cost(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = cost(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = cost(right)
    seen += [(at_left, left), (at_right, right)]
    return min(seen)[1]
