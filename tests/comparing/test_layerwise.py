"""The trace of errors through a model."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxopt import store
from onnxopt.comparing.layerwise import layerwise
from onnxopt.comparing.scaling import ChannelScale, read, record
from onnxopt.data import in_memory
from onnxopt.errors import DataError

TEXT = (
    '<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] z)'
    " <float a = {FACTOR}, float b = {3}> { y = Mul(x, a) w = Neg(y) z = Mul(w, b) }"
)
DATA = in_memory([{"x": np.array([1, 2, 3, 4], np.float32)}] * 2)


def test_it_names_the_node_that_loses_the_signal() -> None:
    reference = store.from_text(TEXT.replace("FACTOR", "2"))
    candidate = store.from_text(TEXT.replace("FACTOR", "2.2"))
    rows = layerwise(reference, candidate, DATA)
    assert [row.name for row in rows] == ["y", "w", "z"]
    assert rows[0].error == pytest.approx(0.1, rel=1e-4)
    assert rows[0].sqnr_db == pytest.approx(20, abs=0.01)
    assert rows[0].signal == pytest.approx(2 * 4 * 30)
    assert rows[0].lost_db == math.inf
    assert rows[1].lost_db == pytest.approx(0, abs=1e-6)


def test_equal_models_have_no_noise() -> None:
    model = store.from_text(TEXT.replace("FACTOR", "2"))
    rows = layerwise(model, model, DATA)
    assert all(row.noise == 0 and row.sqnr_db == math.inf and row.lost_db == 0 for row in rows)


def test_recorded_scales_are_undone() -> None:
    reference = store.from_text(TEXT.replace("FACTOR", "2"))
    candidate = store.from_text(TEXT.replace("FACTOR", "1"))
    scale = ChannelScale(-1, np.full(4, 2.0))
    record(candidate, {"y": scale, "w": scale, "z": scale})
    assert max(row.error for row in layerwise(reference, candidate, DATA)) == 0
    assert max(row.error for row in layerwise(candidate, reference, DATA)) == 0


def test_scales_add_up_and_survive_a_file() -> None:
    model = store.from_text(TEXT.replace("FACTOR", "2"))
    record(model, {"y": ChannelScale(-1, np.full(4, 2.0))})
    record(model, {"y": ChannelScale(-1, np.full(4, 0.25)), "z": ChannelScale(1, np.ones(1))})
    found = read(store.load(store.serialize(model)))
    np.testing.assert_array_equal(found["y"].scale, np.full(4, 0.5))
    assert found["z"].axis == 1


def test_there_must_be_samples() -> None:
    model = store.from_text(TEXT.replace("FACTOR", "2"))
    with pytest.raises(DataError, match="no samples"):
        layerwise(model, model, DATA.take([]))
