"""Random models, and goldens with random changes, keep every promise under random recipes.

A promise is: no failure; the caller's model stays as it is; inputs, outputs and metadata stay;
what keeps its name keeps its value, to the bit where all passes promise that; a preset or a
target's recipe finds nothing to do in its own result; no group of passes runs in circles.
``--full`` tries twenty times as many models.
"""

from __future__ import annotations

import functools
from random import Random

import golden
import judging
import mutating
import onnx
import promises
import pytest
import random_graphs
from hunting import hunt
from hypothesis import assume, given
from hypothesis import strategies as st

from onnxopt import registry
from onnxopt.presets import PRESETS
from onnxopt.recipe import Recipe

BATCHES = range(8)
EXAMPLES = 60
LONGEST_CHAIN = 8


@pytest.mark.parametrize("batch", BATCHES)
def test_random_models(batch: int, pytestconfig: pytest.Config) -> None:
    @given(st.randoms(use_true_random=False))
    def keeps_all_promises(rng: Random) -> None:
        made = random_graphs.random_model(rng)
        proto, feeds = made.proto, made.feeds
        if rng.random() < 0.15:
            proto, feeds = mutating.mutated(proto, rng, 1), None
        check(proto, feeds, rng)

    hunt(keeps_all_promises, batch, EXAMPLES, pytestconfig)


@pytest.mark.parametrize("batch", BATCHES)
def test_goldens_with_changes(batch: int, pytestconfig: pytest.Config) -> None:
    @given(st.sampled_from(befores()), st.randoms(use_true_random=False))
    def keeps_all_promises(text: str, rng: Random) -> None:
        proto = mutating.mutated(onnx.parser.parse_model(text), rng, rng.choice([0, 1, 1, 2, 3]))
        check(proto, None, rng)

    hunt(keeps_all_promises, batch, EXAMPLES, pytestconfig)


def check(proto: onnx.ModelProto, feeds: object, rng: Random) -> None:
    try:
        specimen = promises.Specimen(proto, feeds)  # type: ignore[arg-type]
    except promises.Unusable:
        assume(False)
        return
    for text, settles in ((random_chain(rng), False), (rng.choice(whole_recipes()), True)):
        found = specimen.violation(Recipe.parse(text), settles=settles)
        assert found is None, f"{text}: {found}"


def random_chain(rng: Random) -> str:
    """Passes in random order."""
    count = rng.randint(1, LONGEST_CHAIN)
    return " | ".join(rng.choice(words()) for _ in range(count))


@functools.cache
def words() -> list[str]:
    return [str(step) for step in judging.exact_passes()]


@functools.cache
def whole_recipes() -> list[str]:
    return [name if name in PRESETS else str(r) for name, r in judging.exact_recipes().items()]


@functools.cache
def befores() -> list[str]:
    """The models of the exact passes' golden cases as they are before.

    Those of lossy ones hold ops that make a large error of a small one.
    """
    exact = {name for name, step in registry.passes().items() if step.exactness.is_exact}
    texts = [path.read_text() for path in golden.cases() if path.parent.name in exact]
    bodies = ["\n".join(x for x in t.splitlines() if not x.startswith("#")) for t in texts]
    return [body.partition("\n---\n")[0] for body in bodies]
