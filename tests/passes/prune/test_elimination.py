"""What is lost without an input is what least squares loses."""

from __future__ import annotations

import numpy as np
import pytest

from onnxopt_passes.prune._elimination import Reading, eliminate

RANDOM = np.random.default_rng(0)


def lost(x: np.ndarray, weight: np.ndarray, gone: list[int]) -> float:
    """The share of the output's power that is lost with the best weight for the other inputs."""
    y = x @ weight
    rest = np.delete(x, gone, axis=1)
    left = y - rest @ np.linalg.lstsq(rest, y, rcond=None)[0]
    return float((left**2).sum() / (y**2).sum())


def problem(places: np.ndarray) -> tuple[np.ndarray, np.ndarray, Reading]:
    x = RANDOM.normal(size=(200, 6)) @ RANDOM.normal(size=(6, 6))
    weight = RANDOM.normal(size=(6, 4))
    return x, weight, Reading(x.T @ x / 200, weight @ weight.T, places, damping=1e-12)


@pytest.mark.parametrize("places", [np.arange(6)[:, None], np.arange(6).reshape(3, 2)])
def test_losses_are_those_of_least_squares(places: np.ndarray) -> None:
    x, weight, reading = problem(places)
    units = np.arange(len(places))
    expected = [lost(x, weight, list(places[unit])) for unit in units]
    np.testing.assert_allclose(reading.losses(units), expected, rtol=1e-4)
    reading.remove(units[:1])
    first = expected[0]
    expected = [lost(x, weight, [*places[0], *places[unit]]) - first for unit in units[1:]]
    np.testing.assert_allclose(reading.losses(units[1:]), expected, rtol=1e-4)


def test_what_others_can_replace_goes_first() -> None:
    x = RANDOM.normal(size=(500, 4))
    x[:, 2] = x[:, 0] - x[:, 1] + 0.01 * RANDOM.normal(size=500)
    weight = np.ones((4, 1)) * [[1], [1], [10], [1]]
    reading = Reading(x.T @ x / 500, weight @ weight.T, np.arange(4)[:, None], 1e-3)
    order, losses = eliminate([reading], 4)
    assert order[0] in (0, 1, 2)
    assert losses[0] < 0.01
    assert (np.diff(losses) >= 0).all()
    assert sorted(order) == [0, 1, 2, 3]


def test_too_many_inputs_count_by_their_variance() -> None:
    reading = Reading(np.array([1.0, 4.0]), np.eye(2), np.arange(2)[:, None], 1e-3)
    np.testing.assert_allclose(reading.losses(np.arange(2)), [0.2, 0.8], rtol=1e-2)
