"""Optimizing what is optimized changes nothing more."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxopt import pipeline, store
from onnxopt.recipe import Recipe
from onnxopt.targets import load_target
from onnxopt.transform import Context
from onnxopt_models import digits
from onnxopt_models.fetch import fetch

NAMES = ("captcha", "magika", "mlp", "pp-ocr-cls", "pp-ocr-det", "pp-ocr-rec", "silero-vad")


def settles(path: Path) -> bool:
    target = load_target("x64-vnni")
    recipe = Recipe.parse(f"{target.exact_recipe} | {target.float_recipe}")
    once = pipeline.run(store.load(path), recipe, Context(target=target))
    again = pipeline.run(once.model, recipe, Context(target=target))
    return store.structural_hash(again.model) == store.structural_hash(once.model)


def test_the_embedded_model_settles() -> None:
    assert settles(digits.MODEL)


@pytest.mark.real
@pytest.mark.parametrize("name", NAMES)
def test_a_real_model_settles(name: str) -> None:
    assert settles(fetch(name))
