"""The target's own steps with another way to read ranges."""

from __future__ import annotations

import pytest

from onnxopt.api import RunOptions, default_quantize
from onnxopt.errors import RecipeError, UsageError
from onnxopt.recipe import Recipe


def test_an_option_is_set_on_every_step_that_has_it() -> None:
    recipe = Recipe.parse(
        "smooth-activations | (quantize-static{percentile=99.0}){times=2} | quantize-mixed"
    )
    found = str(recipe.with_option("method", "mse"))
    assert found == (
        "smooth-activations | (quantize-static{method=mse, percentile=99.0}){times=2} | "
        "quantize-mixed{method=mse}"
    )
    with pytest.raises(RecipeError, match="no step of eliminate-dead-nodes has an option method"):
        Recipe.parse("eliminate-dead-nodes").with_option("method", "mse")


def test_the_default_steps_keep_their_other_options() -> None:
    found = str(default_quantize("mse", RunOptions(target="x64-vnni")))
    assert "quantize-mixed{method=mse, refined=true}" in found
    assert "| refine-rounding |" in found


def test_a_target_without_integers_has_no_ranges() -> None:
    with pytest.raises(UsageError, match="reads no ranges"):
        default_quantize("mse", RunOptions(target="cuda"))
