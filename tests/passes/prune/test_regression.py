"""The linear problem behind reconstruction, against least squares by numpy."""

from __future__ import annotations

import numpy as np
import pytest

from onnxopt_passes.prune._regression import Moments, best_change

RANDOM = np.random.default_rng(0)


def moments(x: np.ndarray, residue: np.ndarray, wanted: np.ndarray, *, bias: bool) -> Moments:
    made = Moments(x.shape[0], x.shape[2], residue.shape[2], has_bias=bias)
    for part in np.array_split(np.arange(x.shape[1]), 3):
        made.add(x[:, part], residue[:, part], wanted[:, part])
    return made


@pytest.mark.parametrize("bias", [True, False])
def test_without_a_ridge_it_is_least_squares(bias: bool) -> None:
    x = RANDOM.normal(1, 1, (2, 60, 4)).astype(np.float32)
    y = RANDOM.normal(size=(2, 60, 3)).astype(np.float32)
    found = moments(x, y, y, bias=bias)
    change = found.change(1e-9)
    for group in range(2):
        rows = np.hstack([x[group], np.ones((60, 1))]) if bias else x[group]
        expected = np.linalg.lstsq(rows, y[group], rcond=None)[0].T
        np.testing.assert_allclose(change[group], expected, atol=1e-4)
    left = (
        y - x @ change[:, :, :4].swapaxes(1, 2) - (change[:, :, 4:].swapaxes(1, 2) if bias else 0)
    )
    signal = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum()
    assert found.error(change) == pytest.approx((left**2).sum() / signal, rel=1e-4)
    assert found.error() == pytest.approx((y**2).sum() / signal, rel=1e-4)


def test_noise_is_not_fitted() -> None:
    x, y = RANDOM.normal(size=(1, 40, 30)), RANDOM.normal(size=(1, 40, 3))
    fit = moments(x[:, :30], y[:, :30], y[:, :30], bias=True)
    held = moments(x[:, 30:], y[:, 30:], y[:, 30:], bias=True)
    assert best_change(fit, held, np.ones((1, 3, 30)), [1e-4]) is None


def test_what_helps_on_samples_held_out_is_taken() -> None:
    x = RANDOM.normal(size=(1, 80, 5))
    y = x @ RANDOM.normal(size=(1, 5, 3)) + 0.01 * RANDOM.normal(size=(1, 80, 3))
    fit = moments(x[:, :60], y[:, :60], y[:, :60], bias=True)
    held = moments(x[:, 60:], y[:, 60:], y[:, 60:], bias=True)
    change = best_change(fit, held, np.ones((1, 3, 5)), [1e-6, 1.0])
    assert change is not None
    assert held.error(change) < 1e-3


def test_dead_inputs_are_no_trouble() -> None:
    x, y = np.zeros((1, 20, 4)), RANDOM.normal(size=(1, 20, 2))
    change = moments(x, y, y, bias=True).change(1e-2)
    np.testing.assert_allclose(change[0, :, 4], y[0].mean(axis=0), atol=1e-9)
    assert not change[0, :, :4].any()


def test_few_positions_tell_a_multiple() -> None:
    x, weight = RANDOM.normal(size=(1, 12, 30)), RANDOM.normal(size=(1, 3, 30))
    made = x @ weight.swapaxes(1, 2)
    wanted = made * [1.5, 0.5, 2.0] + 0.1 * RANDOM.normal(size=(1, 12, 3)) + 7
    found = moments(x, wanted - made, wanted, bias=True)
    shares = found.scaling(weight) / weight
    np.testing.assert_allclose(shares, shares[:, :, :1] * np.ones(30), atol=1e-9)
    np.testing.assert_allclose(shares[0, :, 0], [0.5, -0.5, 1.0], atol=0.05)
    around = found.change(1e9, found.scaling(weight))
    np.testing.assert_allclose(around[:, :, :30], found.scaling(weight), atol=1e-6)


@pytest.mark.parametrize("noise", [0.01, 1.0, 10.0])
def test_the_strength_is_the_best_of_those_given(noise: float) -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(1, 80, 20))
    y = x @ random.normal(size=(1, 20, 3)) + noise * random.normal(size=(1, 80, 3))
    fit = moments(x[:, :60], y[:, :60], y[:, :60], bias=True)
    held = moments(x[:, 60:], y[:, 60:], y[:, 60:], bias=True)
    strengths, weight = [1e-4, 1e-2, 1e-1, 1.0, 10.0, 1000.0], np.ones((1, 3, 20))
    around = None, fit.scaling(weight)
    errors = [held.error(fit.change(one, base)) for one in strengths for base in around]
    found = best_change(fit, held, weight, strengths)
    best = held.error() if found is None else held.error(found)
    assert best == pytest.approx(min(*errors, held.error()), rel=1e-6)
