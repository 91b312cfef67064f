"""``--keep-default-inputs``: callers may go on overriding what has a default."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli import run

from onnxopt import store
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,3] x, float[3] scale) => (float[2,3] y)
<float[3] scale = {1, 1, 1}, float[3] shift = {0, 0, 1}> {
  a = Identity(x)
  s = Mul(a, scale)
  y = Add(s, shift)
}"""


def _inputs(path: Path) -> list[str]:
    return [value.name or "" for value in store.load(path).graph.inputs]


@pytest.mark.parametrize("recipe", [(), ("--recipe", "exact"), ("--recipe", "(simplify)")])
def test_defaults_stay_inputs_where_asked_for(
    recipe: tuple[str, ...], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.onnx"
    frozen = run(capsys, "optimize", model, "-o", output, *recipe)
    assert frozen.code == 0, frozen.err
    assert _inputs(output) == ["x"]
    run(capsys, "optimize", model, "-o", output, *recipe, "--force", "--keep-default-inputs")
    assert _inputs(output) == ["x", "scale"]
    feeds = {"x": np.ones((2, 3), np.float32), "scale": np.full(3, 5, np.float32)}
    with open_session(store.load(output), SessionConfig()) as session:
        np.testing.assert_array_equal(session.run(feeds)["y"], [[5, 5, 6]] * 2)


def test_a_recipe_without_a_pass() -> None:
    recipe = Recipe.parse("(fold-constants) | infer-shapes | ((fold-constants | infer-shapes))")
    assert str(recipe.without("fold-constants")) == "infer-shapes | ((infer-shapes))"
    assert recipe.without("merge-clips") == recipe
