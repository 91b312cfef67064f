"""Defaults that callers may override stay overridable where that is asked for."""

from __future__ import annotations

import judging
import numpy as np

from onnxopt import pipeline, store
from onnxopt.presets import PRESETS
from onnxopt.recipe import Recipe

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,3] x, float[3] scale, float[3] shift) => (float[2,3] y)
<float[3] scale = {1, 2, 3}, float[3] shift = {0, 0, 1}>
{
  s = Mul(x, scale)
  y = Add(s, shift)
}
"""
FEEDS = {"x": np.ones((2, 3), np.float32)}
OTHER = {**FEEDS, "scale": np.array([5, 5, 5], np.float32)}


def test_a_kept_default_can_still_be_overridden() -> None:
    model = store.from_text(TEXT)
    kept = PRESETS["exact"].replace(
        "freeze-default-inputs", 'freeze-default-inputs{keep=["scale"]}'
    )
    result = pipeline.run(model, Recipe.parse(kept)).model
    assert [value.name for value in result.graph.inputs] == ["x", "scale"]
    for feeds in (FEEDS, OTHER):
        np.testing.assert_array_equal(
            judging.compute_fed(result, feeds)["y"], judging.compute_fed(model, feeds)["y"]
        )


def test_all_defaults_stay_without_the_freezing_pass() -> None:
    model = store.from_text(TEXT)
    _, _, rest = PRESETS["exact"].partition("|")
    result = pipeline.run(model, Recipe.parse(rest)).model
    assert [value.name for value in result.graph.inputs] == ["x", "scale", "shift"]
    np.testing.assert_array_equal(
        judging.compute_fed(result, OTHER)["y"], judging.compute_fed(model, OTHER)["y"]
    )
