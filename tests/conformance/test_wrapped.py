"""The corpus keeps its meaning inside functions that are called twice, and inside branches.

There the passes meet values of outer graphs, names that two graphs share, and bodies of which is
known what their calls have in common. A sample; ``--full`` takes many more.
"""

from __future__ import annotations

import corpus
import judging
import pytest
import wrapping

from onnxopt.errors import ModelError
from onnxopt.recipe import Recipe

SAMPLED, FULL = 60, 6
RECIPES = ("simplify", "exact", "bodies")
BODIES = (
    "(eliminate-identities | eliminate-dead-nodes | fold-constants | fold-shapes | eliminate-noops"
    " | merge-reshapes | merge-squeezed-reductions | merge-duplicate-nodes | merge-casts"
    " | merge-clips | merge-constant-operands | trim-optional-inputs | spell-sizes | infer-shapes)"
)
"""What works inside functions that stay."""


@pytest.mark.parametrize("way", wrapping.WAYS)
def test_wrapped_models_mean_the_same(way: str, request: pytest.FixtureRequest) -> None:
    every = FULL if request.config.getoption("--full", default=False) else SAMPLED
    recipes = [Recipe.parse(BODIES if name == "bodies" else name) for name in RECIPES]
    found, judged = [], 0
    for case in corpus.cases(every):
        wrapped = wrapping.WAYS[way](case)
        try:
            subject = None if wrapped is None else judging.Subject(wrapped)
        except ModelError:
            continue  # refused when loaded, which has its own tests
        if subject is not None:
            judged += 1
            found += [problem for recipe in recipes if (problem := subject.problem(recipe))]
    assert found == []
    assert judged > 10
