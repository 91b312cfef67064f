"""Random models keep what they must through recipes that may lose precision, on the CPU's targets.

No failure; the caller's model stays as it is; inputs, outputs and metadata stay; the result loads
and runs under full optimisation. A target's whole recipe, which tries out what it does, also stays
finite and inside its error on the samples that it saw.
``--full`` tries twenty times as many models.
"""

from __future__ import annotations

from random import Random
from typing import Any

import judging
import numpy as np
import onnx
import onnx_ir as ir
import promises
import pytest
import random_graphs
from hunting import hunt
from hypothesis import assume, given
from hypothesis import strategies as st

from onnxopt import pipeline, store
from onnxopt.data import in_memory
from onnxopt.errors import OnnxoptError
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.targets import load_target
from onnxopt.transform import Context, Goal
from onnxopt_passes._trial import Trial

BATCHES = range(8)
EXAMPLES = 25
SAMPLES = 12
MOST_ERROR = 0.05
OPTIMIZED = SessionConfig(threads=1, spinning=False)
TARGETS = ("x64-vnni", "x64-amx", "x64-avx2", "arm64")
SINGLE = (
    *("quantize-static", "quantize-static{placement=all}", "quantize-dynamic"),
    *("quantize-weights", "quantize-weights{bits=4}"),
    *("equalize-channels", "smooth-activations", "correct-bias", "refine-rounding"),
    *("pad-conv-channels", "shift-conv-weights", "fuse-quantized-linear", "dequantize-model"),
)

Feeds = dict[str, Any]


@pytest.mark.parametrize("batch", BATCHES)
def test_random_models_through_lossy_recipes(batch: int, pytestconfig: pytest.Config) -> None:
    @given(st.randoms(use_true_random=False))
    def keeps_what_it_must(rng: Random) -> None:
        made = random_graphs.random_model(rng)
        feeds = drawn(made.feeds[0], rng)
        before = computed(made.proto, feeds)
        assume(before is not None)
        assert before is not None
        name = rng.choice(TARGETS)
        for text, whole in ((chain(rng), False), (load_target(name).lossy_recipe, True)):
            found = violation(made.proto, text, name, feeds, before, whole=whole)
            assert found is None, f"{text} on {name}: {found}"

    hunt(keeps_what_it_must, batch, EXAMPLES, pytestconfig)


def drawn(like: Any, rng: Random) -> list[Feeds]:
    """Samples of the sizes of one."""
    numbers = np.random.default_rng(rng.randrange(1 << 32))
    return [
        {
            name: numbers.standard_normal(np.shape(value)).astype(np.float32)
            for name, value in like.items()
        }
        for _ in range(SAMPLES)
    ]


def chain(rng: Random) -> str:
    return " | ".join(rng.choice(SINGLE) for _ in range(rng.randint(1, 5)))


def computed(proto: onnx.ModelProto, feeds: list[Feeds]) -> list[dict[str, Any]] | None:
    """What the original gives; None where it is no case: not run, or not finite."""
    try:
        model = store.load(proto)
        promises.Specimen(proto, feeds[:1])
        outputs = run(model, feeds)
    except (OnnxoptError, promises.Unusable):
        return None
    return outputs if all(finite(one) for one in outputs) else None


def finite(outputs: dict[str, Any]) -> bool:
    return all(
        np.isfinite(value).all() and np.abs(value).max(initial=0.0) < promises.HALF_LIMIT
        for value in outputs.values()
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"
    )


def run(model: ir.Model, feeds: list[Feeds]) -> list[dict[str, Any]]:
    with open_session(model, OPTIMIZED) as session:
        return [session.run(one) for one in feeds]


def violation(
    proto: onnx.ModelProto,
    text: str,
    target: str,
    feeds: list[Feeds],
    before: list[dict[str, Any]],
    *,
    whole: bool,
) -> str | None:
    """The first thing a recipe breaks on a model."""
    model = store.load(proto)
    content = store.content_hash(model)
    data = in_memory(feeds)
    goal = Goal(max_error=MOST_ERROR)
    context = Context(target=load_target(target), calibration=data, search=data, goal=goal)
    try:
        result = pipeline.run(model, Recipe.parse(text), context).model
    except OnnxoptError as error:
        return f"raises {error}"
    if store.content_hash(model) != content:
        return "the caller's model was changed"
    old, new = judging.proto_of(model), judging.proto_of(result)
    found = judging.interface_change(old, new)
    if found is None and judging.invalidity(old) is None:
        found = judging.invalidity(new)
    if found:
        return found
    try:
        after = run(result, feeds)
    except OnnxoptError as error:
        return f"does not run: {error}"
    if not all(finite(one) for one in after) and whole:
        return "gives something that is not finite"
    error = Trial(model, context).of(result).error.mean if whole else 0.0
    return f"an error of {error:.3f}" if error > MOST_ERROR else None
