"""Scales of biases follow those of inputs and weights; no torch needed to find them."""

from __future__ import annotations

import classroom
import numpy as np

from onnxopt import pipeline
from onnxopt.distill.scales import find_scales
from onnxopt.graph import constant
from onnxopt.recipe import Recipe
from onnxopt.targets import load_target
from onnxopt.transform import Context


def quantized() -> pipeline.PipelineResult:
    context = Context(target=load_target("x64-vnni"), calibration=classroom.samples(16))
    return pipeline.run(
        classroom.teacher(), Recipe.parse("quantize-static{placement=all}"), context
    )


def test_scales_are_learned_or_follow() -> None:
    model = quantized().model
    found = find_scales(model)
    followers = {follower.bias for follower in found.followers}
    assert {"w2/scale", "w3/scale"} <= set(found.learned)
    assert {"b2/scale", "b3/scale"} <= followers
    assert not followers & set(found.learned)
    for follower in found.followers:
        names = (follower.bias, follower.input, follower.weight)
        values = [constant(model.graph.initializers[name]) for name in names]
        own, first, second = (np.asarray(value, np.float64) for value in values)
        np.testing.assert_allclose(own, first * second, rtol=1e-5)


def test_float_models_have_none() -> None:
    assert find_scales(classroom.teacher()).names == set()
