"""The models of the onnx package compute the same after every exact pass and recipe.

By default every tenth model; ``--full`` runs all of them.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import corpus
import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import pipeline, registry, store
from onnxopt.errors import OnnxoptError
from onnxopt.exactness import Exactness, Tolerance
from onnxopt.graph import all_nodes
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.transform import Pass

CHUNKS = 10
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"}
RANDOM |= {"RandomUniformLike"}
CLEAN = "eliminate-identities | eliminate-dead-nodes | eliminate-unused-initializers"
BITWISE = (
    "freeze-default-inputs | (fold-constants | infer-shapes | merge-duplicate-initializers"
    f" | merge-duplicate-nodes | {CLEAN})"
)


@pytest.fixture(params=range(CHUNKS))
def chunk(request: pytest.FixtureRequest) -> list[corpus.Case]:
    """A tenth of the corpus; all but the first only with ``--full``."""
    if request.param and not request.config.getoption("--full", default=False):
        pytest.skip("a sample is enough; --full runs it")
    return list(runnable(request.param))


@functools.cache
def originals(offset: int) -> dict[str, dict[str, Any]]:
    """What the original models compute, as far as ONNX Runtime runs them at all."""
    found = {}
    for case in corpus.cases(CHUNKS, offset):
        try:
            found[case.name] = compute(case.model.SerializeToString(), case.feeds)
        except OnnxoptError:
            continue
    return found


def runnable(offset: int) -> Iterator[corpus.Case]:
    """The cases whose original ONNX Runtime runs and that hold no random ops."""
    for case in corpus.cases(CHUNKS, offset):
        random = any(node.op_type in RANDOM for node in case.model.graph.node)
        if case.name in originals(offset) and not random:
            yield case


def compute(model: bytes | ir.Model, feeds: dict[str, Any]) -> dict[str, Any]:
    with open_session(model, SessionConfig(optimization="off", threads=1)) as session:
        names = {spec.name for spec in session.inputs}
        return session.run({name: value for name, value in feeds.items() if name in names})


def problem(case: corpus.Case, recipe: Recipe, tolerance: Tolerance) -> str | None:
    """What goes wrong when a recipe runs on a case."""
    try:
        original = store.load(case.model)
        result = pipeline.run(original, recipe)
        if any("undoes its own work" in remark for remark in result.remarks):
            return f"{case.name}: {result.remarks}"
        if not result.changed:
            return None
        before = compute(case.model.SerializeToString(), case.feeds)
        after = compute(result.model, case.feeds)
    except OnnxoptError as error:
        return f"{case.name}: {error}"
    if list(before) != list(after):
        return f"{case.name}: outputs {list(after)} in place of {list(before)}"
    different = [name for name in before if not agree(before[name], after[name], tolerance)]
    return f"{case.name}: {different} of {ops(original)} differ" if different else None


def agree(a: Any, b: Any, tolerance: Tolerance) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(agree(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if a is None or b is None:
        return a is b
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    if a.dtype.kind not in "fc":  # numpy's own tests know no NaN of the narrow floats
        return a.tobytes() == b.tobytes() if a.dtype.kind == "V" else bool((a == b).all())
    return np.allclose(b, a, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True)


def ops(model: ir.Model) -> list[str]:
    return [op for op, _ in Counter(node.op_type for node in all_nodes(model)).most_common(5)]


def exact_passes() -> list[Pass]:
    """All installed passes that promise exactness and need nothing."""
    found = [pass_class() for pass_class in registry.passes().values() if not pass_class.needs]
    return [step for step in found if step.exactness.is_exact]


def failures(chunk: list[corpus.Case], recipe: Recipe) -> list[str]:
    tolerance = recipe.exactness.tolerance
    assert tolerance is not None
    found = (problem(case, recipe, tolerance) for case in chunk)
    return [text for text in found if text]


@pytest.mark.parametrize("step", exact_passes(), ids=str)
def test_each_exact_pass_by_itself(chunk: list[corpus.Case], step: Pass) -> None:
    assert failures(chunk, Recipe((step,))) == []


def test_simplifying_to_a_fixed_point_keeps_every_bit(chunk: list[corpus.Case]) -> None:
    recipe = Recipe.parse(BITWISE)
    assert recipe.exactness is Exactness.BITWISE
    assert failures(chunk, recipe) == []


def test_the_exact_recipe(chunk: list[corpus.Case]) -> None:
    assert failures(chunk, Recipe.parse("exact")) == []
