"""What the verbs that quantize have in common: the exact part, the float part, the replay."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxopt import pipeline
from onnxopt.api.budget import allows, criteria_of, goal_of
from onnxopt.api.options import Budget
from onnxopt.api.reaching import missing_provider
from onnxopt.api.verification import verify_result
from onnxopt.api.workbench import Workbench
from onnxopt.comparing import Comparison, Criteria, Equivalence, compare
from onnxopt.data import Dataset
from onnxopt.errors import DataError
from onnxopt.pipeline import Observer, PipelineResult
from onnxopt.recipe import Recipe, Step
from onnxopt.transform import Goal, Pass

_FAR = 0.08
"""An error of the outputs below which caution alone would have changed nothing."""


def with_goal(bench: Workbench, budget: Budget) -> Workbench:
    """The bench with passes told what the budget is."""
    samples = None if bench.data is None else len(bench.data.test)
    return replace(bench, context=replace(bench.context, goal=goal_of(budget, samples)))


def exact_part(
    bench: Workbench, observer: Observer | None = None
) -> tuple[PipelineResult, Equivalence | None]:
    """What the exact passes make of the model, with the evidence that it computes the same.

    Raises:
        MismatchError: It does not.
    """
    result = pipeline.run(bench.model, bench.exact, bench.context, observer)
    return result, verify_result(bench, bench.model, result) if bench.options.verify else None


def float_part(
    bench: Workbench, exact: PipelineResult, observer: Observer | None = None
) -> PipelineResult:
    """What the target's float kernels like better still, made of the exact model; verified.

    Raises:
        MismatchError: It does not compute the same.
    """
    recipe = Recipe.parse(bench.target.float_recipe)
    result = pipeline.run(exact.model, recipe, bench.context, observer)
    if bench.options.verify and result.changed:
        verify_result(bench, exact.model, result)
    return result


@dataclass(frozen=True, eq=False)
class Lossy:
    """What quantizing steps made of the exact model, and how it compares on held-out samples.

    Attributes:
        result: What the steps did.
        comparison: Against the original.
        fits: Whether that is inside the budget.
        why: The reason in a sentence.
    """

    result: PipelineResult
    comparison: Comparison
    fits: bool
    why: str


def lossy_part(
    bench: Workbench,
    exact: PipelineResult,
    recipe: Recipe,
    budget: Budget,
    observer: Observer | None = None,
) -> Lossy:
    """Run quantizing steps and judge what comes out on held-out samples.

    Where the result is not inside the budget although it was on the samples that the steps chose
    by, they run once more with caution.

    Raises:
        MismatchError: The result has other outputs.
    """
    found = _quantized(bench, exact, recipe, budget, observer)
    goal = bench.context.goal
    careful = None if goal is None else _more_careful(found, goal)
    if careful is None:
        return found
    context = replace(bench.context, goal=careful)
    second = _quantized(replace(bench, context=context), exact, recipe, budget, observer)
    return second if second.fits else found


def _more_careful(found: Lossy, goal: Goal) -> Goal | None:
    """The goal with which steps that choose may choose what fits; None where none would help.

    Where a metric is missed by answers that change to and fro, a smaller error of the outputs
    changes fewer of them: unless there are so few samples that even none could be believed.
    """
    comparison = found.comparison
    chose = any(step.replay != str(step.step) for step in found.result.results)
    if found.fits or goal.cautious or comparison.fidelity is None or not chose:
        return None
    error, careful = comparison.fidelity.mean, replace(goal, cautious=True)
    if goal.max_drop is None:
        return None if goal.max_error is None else careful
    if error > _FAR:
        return careful
    if comparison.metric is None or comparison.metric.change.unseen >= goal.max_drop:
        return None
    return replace(careful, max_error=min(error, goal.max_error or error))


def _quantized(
    bench: Workbench,
    exact: PipelineResult,
    recipe: Recipe,
    budget: Budget,
    observer: Observer | None,
) -> Lossy:
    result = pipeline.run(exact.model, recipe, bench.context, observer)
    if bench.options.verify:
        verify_result(bench, exact.model, result)
    comparison = held_out_comparison(bench, result.model, budget)
    return Lossy(result, comparison, *allows(comparison, budget))


def held_out_comparison(bench: Workbench, model: ir.Model, budget: Budget) -> Comparison:
    """The original and what was made of it, on held-out samples; see ``compared_on``.

    Raises:
        DataError: There are none.
        BackendMissingError: The target is elsewhere, and something is to be timed.
    """
    if bench.data is None or not len(bench.data.test):
        raise DataError("there are no held-out samples to compare with")
    return compared_on(bench, model, bench.data.test, criteria_of(budget, bench.options.seed))


def compared_on(
    bench: Workbench, model: ir.Model, samples: Dataset, criteria: Criteria
) -> Comparison:
    """The original in fp32 on the CPU, and what was made of it as it will run, on some samples.

    Where the target is elsewhere and nothing is to be timed, that runs on the CPU too, with a
    warning.

    Raises:
        BackendMissingError: The target is elsewhere, and something is to be timed.
    """
    ours = replace(bench.session, spinning=False)
    plain = replace(ours, provider="cpu", precision="fp32")
    missing = missing_provider(bench)
    found = compare(
        bench.model,
        model,
        samples,
        criteria,
        config=plain,
        candidate_config=plain if missing else ours,
        progress=bench.options.progress,
    )
    warnings = (f"compared on the CPU provider: {missing}",) if missing else ()
    return replace(found, warnings=(*found.warnings, *warnings))


def replayed(result: PipelineResult) -> Recipe:
    """The recipe with every search replaced by what it has found."""
    found = {one.step: one.replay for one in result.results}

    def again(step: Step) -> tuple[Step, ...]:
        replay = found.get(str(step)) if isinstance(step, Pass) else None
        if replay is None or replay == str(step):
            return (step,)
        return Recipe.parse(replay).steps

    return Recipe(tuple(one for step in result.recipe.steps for one in again(step)))
