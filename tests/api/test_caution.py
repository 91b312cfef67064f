"""What misled the search is not trusted twice: a metric, or the error on a few samples."""

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


def metric_of(unseen: float) -> Any:
    return SimpleNamespace(change=SimpleNamespace(unseen=unseen))


DROP, ERROR = Goal(metric("top1"), max_drop=0.01), Goal(max_error=0.05)


@pytest.mark.parametrize(
    ("goal", "error", "fits", "goals", "replay"),
    [
        (DROP, 0.05, (False, True), 2, "chosen"),
        (DROP, 0.05, (False,), 1, "choose"),
        (DROP, 0.2, (False, True), 2, "chosen"),
        (DROP, 0.2, (False, False), 2, "chosen"),
        (DROP, 0.2, (True,), 1, "chosen"),
        (ERROR, 0.06, (False, True), 2, "chosen"),
        (ERROR, 0.06, (False, False), 2, "chosen"),
        (ERROR, 0.04, (True,), 1, "chosen"),
        (ERROR, 0.06, (False,), 1, "choose"),  # steps without a choice do the same again
    ],
)
def test_steps_run_again_with_caution(
    bench: Workbench,
    monkeypatch: pytest.MonkeyPatch,
    goal: Goal,
    error: float,
    fits: tuple[bool, ...],
    goals: int,
    replay: str,
) -> None:
    seen: list[Goal | None] = []

    def quantized(bench: Workbench, *more: Any) -> Any:
        seen.append(bench.context.goal)
        comparison = SimpleNamespace(fidelity=SimpleNamespace(mean=error), metric=metric_of(0.003))
        result = SimpleNamespace(results=[SimpleNamespace(step="choose", replay=replay)])
        return SimpleNamespace(
            comparison=comparison, fits=fits[len(seen) - 1], number=len(seen), result=result
        )

    monkeypatch.setattr(crafting, "_quantized", quantized)
    asked = replace(bench, context=replace(bench.context, goal=goal))
    found = crafting.lossy_part(asked, cast("Any", None), Recipe.parse(""), Budget())
    smaller = error if goal is DROP and error < 0.08 else goal.max_error
    assert seen == [goal, replace(goal, cautious=True, max_error=smaller)][:goals]
    assert cast("Any", found).number == (2 if fits[-1] and goals == 2 else 1)


def test_too_few_samples_are_no_reason_to_look_again(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Goal | None] = []

    def quantized(bench: Workbench, *more: Any) -> Any:
        calls.append(bench.context.goal)
        comparison = SimpleNamespace(fidelity=SimpleNamespace(mean=0.05), metric=metric_of(0.02))
        result = SimpleNamespace(results=[SimpleNamespace(step="choose", replay="chosen")])
        return SimpleNamespace(comparison=comparison, fits=False, result=result)

    monkeypatch.setattr(crafting, "_quantized", quantized)
    asked = replace(bench, context=replace(bench.context, goal=DROP))
    crafting.lossy_part(asked, cast("Any", None), Recipe.parse(""), Budget())
    assert calls == [DROP]
