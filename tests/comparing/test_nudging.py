"""Rounding that no order of arithmetic at hand shows: models and inputs off by one unit."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.comparing import CheckLimits, check_equivalence
from onnxopt.comparing.nudging import nudge, nudged, nudged_feeds
from onnxopt.exactness import Exactness


def test_numbers_move_by_one_unit_both_ways() -> None:
    array = np.linspace(-3, 3, 1001, dtype=np.float32) + np.float32(0.01)
    array[:2] = (0, np.inf)
    moved = nudged(array, np.random.default_rng(0))
    assert moved.dtype == np.float32
    assert moved[0] == 0 and np.isinf(moved[1])
    steps = (moved[2:].astype(np.float64) - array[2:]) / np.spacing(np.abs(array[2:]))
    assert {-1.0, 1.0} <= set(steps) and set(np.abs(steps)) <= {0.5, 1.0}


def test_whole_numbers_mean_what_they_say() -> None:
    sizes = np.array([1, 1, 2, 2], np.float32)
    assert nudged(sizes, np.random.default_rng(0)) is sizes
    feeds = nudged_feeds({"ids": np.arange(3), "x": np.array([0.1], np.float32)})
    assert feeds["ids"].tolist() == [0, 1, 2]
    assert abs(float(feeds["x"][0]) - np.float32(0.1)) == np.spacing(np.float32(0.1))


def test_weights_of_subgraphs_move_too_and_integers_stay() -> None:
    model = store.from_text(
        """<ir_version: 8, opset_import: ["" : 18]>
        g (bool c, float[2] x) => (float[2] y)
        <float[2] w = {0.1, 0.2}, int64[1] n = {2}>
        { s = Reshape(w, n)
          y = If(c) <
            then_branch = a () => (float[2] p) <float[2] v = {0.3, 0.4}> { p = Mul(x, v) },
            else_branch = b () => (float[2] q) { q = Mul(x, s) }> }"""
    )
    before = _weights(model)
    nudge(model, seed=0)
    after = _weights(model)
    assert after["n"].tolist() == [2]
    for name in ("w", "v"):
        assert (after[name] != before[name]).all()
        assert np.allclose(after[name], before[name], rtol=3e-7, atol=0)


def _weights(model: ir.Model) -> dict[str, np.ndarray]:
    return {
        name: value.const_value.numpy().copy()
        for graph in model.graphs()
        for name, value in graph.initializers.items()
        if value.const_value is not None
    }


def normalized(*, spelled: str, factor: float = 1.0) -> ir.Model:
    """A variance as the difference of two large numbers: few of its digits are sure."""
    rng = np.random.default_rng(3)
    weight = ", ".join(f"{number:.6f}" for number in 30 + 0.1 * rng.normal(size=64))
    return store.from_text(
        f"""<ir_version: 8, opset_import: ["" : 18]>
        g (float[N,1] x) => (float[N,64] y)
        <float[1,64] w = {{{weight}}}, float f = {{{factor}}}, float n = {{64}},
         int64[1] axes = {{1}}>
        {{ one = Sigmoid(x)
          a = Mul(one, w)
          m = ReduceMean(a, axes)
          {spelled}
          mm = Mul(m, m) var = Sub(q, mm) s = Sqrt(var) sf = Mul(s, f)
          c = Sub(a, m) y = Div(c, sf) }}"""
    )


SQUARES = "aa = Mul(a, a) q = ReduceMean(aa, axes)"
SUM_OF_SQUARES = "qq = ReduceSumSquare(a, axes) q = Div(qq, n)"


@pytest.mark.parametrize(("factor", "agrees"), [(1.0, True), (1.5, False)])
def test_digits_lost_in_a_difference_are_no_difference(factor: float, agrees: bool) -> None:
    source = normalized(spelled=SQUARES)
    other = normalized(spelled=SUM_OF_SQUARES, factor=factor)
    limits = CheckLimits(samples=4)
    found = check_equivalence(source, other, None, Exactness.ROUNDING, limits=limits)
    assert found.agrees == agrees
