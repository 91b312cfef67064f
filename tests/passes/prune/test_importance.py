"""What counts: each kind of importance ranks the units it was made for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.data import in_memory
from onnxopt.errors import DataError
from onnxopt.graph import rewrite_constant
from onnxopt.transform import Context
from onnxopt_passes.prune._coupling import couplings
from onnxopt_passes.prune._importance import Importance, score_units

TEXT = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,4,6,6] x) => (float[1,2,6,6] y)
<float[4,4,1,1] w = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}, float[2,4,1,1] v = {1,1,1,1, 1,1,1,1},
 float[4] s = {1,1,1,1}, float[4] t = {0,0,0,0}, float[4] m = {0,0,0,0}, float[4] d = {1,1,1,1}> {
  c = Conv(x, w) n = BatchNormalization(c, s, t, m, d) y = Conv(n, v) }"""


def noise() -> np.ndarray:
    """The same eight pictures each time, whichever tests ran before."""
    return np.random.default_rng(0).normal(size=(8, 1, 4, 6, 6))


def scored(
    importance: Importance, samples: np.ndarray | None = None, **weights: object
) -> list[int]:
    """The units from the least important on."""
    model = store.from_text(TEXT)
    for name, array in weights.items():
        value = model.graph.initializers[name]
        shape = ir.Shape(value.shape or ()).numpy()
        rewrite_constant(value, np.asarray(array, np.float32).reshape(shape))
    rows = noise() if samples is None else samples
    data = in_memory({"x": row.astype(np.float32)} for row in rows)
    groups, _ = couplings(model)
    scores = score_units(model, groups, importance, Context(calibration=data))
    (found,) = scores.values()
    assert len(groups) == 1
    assert (found >= 0).all()
    return [int(unit) for unit in np.argsort(found, kind="stable")]


@pytest.mark.parametrize("importance", ["l1", "l2"])
def test_norms_of_what_makes_a_unit(importance: Importance) -> None:
    assert scored(importance, w=np.diag([3, 1, 4, 2])) == [1, 3, 0, 2]


def test_scales_of_normalizations() -> None:
    assert scored("batch-norm", w=np.diag([1, 2, 3, 4]), s=[2, -4, 1, 3]) == [2, 0, 3, 1]


def test_units_like_others_are_in_the_middle() -> None:
    rows = [[1, 1, 0, 0], [9, 0, 0, 0], [1, 0.9, 0, 0], [0, 0, 0, 9]]
    assert set(scored("median", w=rows)[:2]) == {0, 2}


def test_magnitudes_of_what_is_read() -> None:
    x = noise() * np.array([4, 3, 2, 1]).reshape(4, 1, 1)
    assert scored("activation", x) == [3, 2, 1, 0]
    assert scored("activation", x, v=[[1, 9, 1, 9], [1, 9, 1, 9]])[:2] == [2, 0]


def test_what_others_make_up_for() -> None:
    x = noise()
    x[:, :, 2] = x[:, :, 0] + 0.1 * x[:, :, 2]
    assert scored("reconstruction", x)[0] in (0, 2)
    assert scored("reconstruction", x, v=[[5, 1, 5, 0.1], [5, 1, 5, 0.1]])[0] == 3


def test_kinds_that_look_at_data_say_when_there_is_none() -> None:
    model = store.from_text(TEXT)
    groups, _ = couplings(model)
    with pytest.raises(DataError, match="no calibration data"):
        score_units(model, groups, "reconstruction", Context())


def test_how_far_the_outputs_move() -> None:
    pytest.importorskip("torch")
    x = noise() * np.array([8, 4, 2, 1]).reshape(4, 1, 1)
    assert scored("taylor", x) == [3, 2, 1, 0]
    assert scored("taylor", x, v=[[1, 1, 1, 9], [1, 1, 1, 9]])[-1] == 3
