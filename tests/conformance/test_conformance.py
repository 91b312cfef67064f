"""The models of the onnx package mean the same after every exact pass and recipe.

Of all of them: no pass fails, what the checker accepted it still accepts, and names, types, sizes
and metadata of inputs and outputs stay. Of those that ONNX Runtime runs: the outputs stay, to the
bit where that is promised. By default a tenth of the corpus; ``--full`` runs all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import judging
import pytest
from judging import Subject

from onnxopt.exactness import Exactness
from onnxopt.recipe import Recipe

CHUNKS = 60
SAMPLED = range(0, CHUNKS, 10)
CLEAN = "eliminate-identities | eliminate-dead-nodes | eliminate-unused-initializers"
BITWISE = (
    "freeze-default-inputs | inline-functions | (fold-constants | fold-shapes | infer-shapes"
    f" | merge-duplicate-initializers | merge-duplicate-nodes | {CLEAN})"
)


@pytest.fixture(params=range(CHUNKS))
def chunk(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A part of the corpus; most only with ``--full``."""
    if request.param not in SAMPLED and not request.config.getoption("--full", default=False):
        pytest.skip("a sample is enough; --full runs it")
    return judging.subjects(CHUNKS, request.param)


def test_models_of_the_corpus_mean_the_same(chunk: Iterator[Subject]) -> None:
    tried = recipes()
    found = [
        f"{name}: {problem}"
        for subject in chunk
        for name, recipe in tried.items()
        if (problem := subject.problem(recipe))
    ]
    assert found == []


def recipes() -> Mapping[str, Recipe]:
    """Each exact pass alone, each preset, each target's recipes, and one that is all bitwise."""
    bitwise = Recipe.parse(BITWISE)
    assert bitwise.exactness is Exactness.BITWISE
    alone = {str(step): Recipe((step,)) for step in judging.exact_passes()}
    return {**alone, **judging.exact_recipes(), "bitwise": bitwise}
