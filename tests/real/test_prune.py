"""Zoo models without a third of their channels: valid, smaller, and right with the rest at zero."""

from __future__ import annotations

import judging
import numpy as np
import onnx
import pytest
from pruning import neutral, random_choice

from onnxopt import pipeline, store
from onnxopt.data.synthetic import candidate_inputs
from onnxopt.errors import OnnxoptError
from onnxopt.recipe import Recipe
from onnxopt.runtime import open_session
from onnxopt.signature import signature_of
from onnxopt_models.fetch import fetch
from onnxopt_passes.prune._coupling import couplings, keep_units

pytestmark = pytest.mark.real
CNNS = ("captcha", "ddddocr", "pp-ocr-cls", "pp-ocr-det", "pp-ocr-rec", "orientation")
FIRST = ("conv2d_205.tmp_0", "batch_norm_4.tmp_2")
"""Channels that a layer normalization takes statistics of, in pp-ocr-rec."""


def outputs(model: object, like: object) -> list[dict[str, np.ndarray]]:
    found = []
    with open_session(model, judging.UNOPTIMIZED) as session:  # type: ignore[arg-type]
        for sample in candidate_inputs(signature_of(like)):  # type: ignore[arg-type]
            try:
                found.append(session.run(sample.feeds))
            except OnnxoptError:
                continue
            if len(found) == 2:
                break
    return found


@pytest.mark.parametrize("name", CNNS)
def test_pruned_models_are_valid_and_smaller(name: str) -> None:
    model = store.load(fetch(name))
    result = pipeline.run(model, Recipe.parse("prune-channels{keep=0.7}"))
    (step,) = result.results
    assert step.applied >= 14
    assert step.after.weight_bytes < 0.65 * step.before.weight_bytes
    onnx.checker.check_model(judging.proto_of(result.model))
    before, after = outputs(model, model), outputs(result.model, model)
    assert len(after) == len(before) > 0
    for ours, theirs in zip(before, after, strict=True):
        assert {n: v.shape for n, v in ours.items()} == {n: v.shape for n, v in theirs.items()}


@pytest.mark.parametrize("recipe", ["", "exact"])
@pytest.mark.parametrize("name", CNNS)
def test_what_is_left_computes_what_it_did(name: str, recipe: str) -> None:
    model = store.load(fetch(name))
    if recipe:
        model = pipeline.run(model, Recipe.parse(recipe)).model
    groups = [group for group in couplings(model)[0] if group.name not in FIRST]
    chosen = random_choice(groups, seed=0, share=0.9)
    pruned = store.load(store.serialize(model))
    keep_units(pruned, chosen)
    before = outputs(neutral(model, chosen, ("makes", "reads")), model)
    after = outputs(pruned, model)
    assert len(after) == len(before) > 0
    for ours, theirs in zip(before, after, strict=True):
        for key, value in ours.items():
            scale = float(np.abs(value).max())
            np.testing.assert_allclose(theirs[key], value, rtol=1e-3, atol=1e-5 * max(1, scale))
