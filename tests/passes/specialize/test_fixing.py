"""Sizes and input values built into a model."""

from __future__ import annotations

import numpy as np
import pytest

from onnxopt import pipeline, store
from onnxopt.errors import DataError, UsageError
from onnxopt.fixed import fixed_inputs
from onnxopt.recipe import Recipe
from onnxopt.runtime import open_session

CONDITIONAL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4] x, int64 sr) => (float[N,4] y) <int64 rate = {16000}> {
  fast = Equal(sr, rate)
  y = If(fast) <
    then_branch = a () => (float[N,4] t) { t = Neg(x) },
    else_branch = b () => (float[N,4] e) { e = Abs(x) }
  >
}"""


def test_an_input_value_decides_what_is_computed() -> None:
    model = store.from_text(CONDITIONAL)
    result = pipeline.run(model, Recipe.parse("fix-inputs{values={sr=16000}} | fold-constants"))
    assert [value.name for value in result.model.graph.inputs] == ["x"]
    assert [value.name for value in model.graph.inputs] == ["x", "sr"]
    assert fixed_inputs(result.model)["sr"] == 16000
    x = np.ones((2, 4), np.float32)
    with open_session(result.model) as session:
        np.testing.assert_array_equal(session.run({"x": x})["y"], -x)


def test_a_kept_input_need_not_be_fed_and_takes_no_other_value() -> None:
    recipe = Recipe.parse("fix-inputs{values={sr=16000}, keep_inputs=true}")
    result = pipeline.run(store.from_text(CONDITIONAL), recipe)
    x = np.ones((1, 4), np.float32)
    with open_session(result.model) as session:
        for feeds in ({"x": x}, {"x": x, "sr": np.array(16000)}):
            np.testing.assert_array_equal(session.run(feeds)["y"], -x)
        with pytest.raises(DataError, match="sr is 8000; wanted 16000"):
            session.run({"x": x, "sr": np.array(8000)})


def test_recipes_with_tables_read_back() -> None:
    text = 'fix-dims{sizes={N=1, "x:1"=320}} | fix-inputs{values={sr=16000, k=[1.5, 2.0]}}'
    recipe = Recipe.parse(text)
    assert str(recipe) == text
    assert Recipe.parse(str(recipe)) == recipe


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("fix-dims{sizes={M=1}}", "no open dimension 'M'.*one of N"),
        ("fix-dims{sizes={N=-1}}", "size -1"),
        ("fix-inputs{values={rate=1}}", "no input 'rate'.*one of x, sr"),
        ("fix-inputs{values={sr=1.5}}", "1.5 is no"),
        ("fix-inputs{values={sr=fast}}", "'fast'"),
        ("fix-inputs{values={sr=[1, 2]}}", r"shape \[2\]"),
        ("fix-inputs{values={x=1}}", r"shape \[\]"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(step: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pipeline.run(store.from_text(CONDITIONAL), Recipe.parse(step))


def test_sizes_reach_every_shape_with_the_symbol() -> None:
    model = store.from_text(CONDITIONAL)
    result = pipeline.run(model, Recipe.parse("fix-dims{sizes={N=3}}"))
    assert str(result.model.graph.inputs[0].shape) == "[3,4]"
    assert str(result.model.graph.outputs[0].shape) == "[3,4]"
    assert pipeline.run(result.model, Recipe.parse("fix-dims{sizes={}}")).changed is False
