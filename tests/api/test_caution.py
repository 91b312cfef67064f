"""A metric that misled the search is not trusted twice."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from onnxopt.api import Budget, RunOptions, crafting
from onnxopt.api.workbench import Workbench
from onnxopt.metrics import metric
from onnxopt.recipe import Recipe
from onnxopt.transform import Goal
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.fetch import fetch


@pytest.fixture(scope="module")
def bench() -> Workbench:
    return Workbench.open(fetch("digits", default_cache_dir()), None, RunOptions(target="x64-vnni"))


@pytest.mark.parametrize(
    ("error", "fits", "goals"),
    [(0.2, (False, True), 2), (0.2, (False, False), 2), (0.2, (True,), 1), (0.05, (False,), 1)],
)
def test_steps_run_again_with_caution(
    bench: Workbench,
    monkeypatch: pytest.MonkeyPatch,
    error: float,
    fits: tuple[bool, ...],
    goals: int,
) -> None:
    seen: list[Goal | None] = []

    def quantized(bench: Workbench, *more: Any) -> Any:
        seen.append(bench.context.goal)
        comparison = SimpleNamespace(fidelity=SimpleNamespace(mean=error))
        return SimpleNamespace(comparison=comparison, fits=fits[len(seen) - 1], number=len(seen))

    monkeypatch.setattr(crafting, "_quantized", quantized)
    goal = Goal(metric("top1"), max_drop=0.01)
    asked = replace(bench, context=replace(bench.context, goal=goal))
    found = crafting.lossy_part(asked, cast("Any", None), Recipe.parse(""), Budget())
    assert seen == [goal, replace(goal, cautious=True)][:goals]
    assert cast("Any", found).number == (2 if fits[-1] and goals == 2 else 1)
