"""The verb ``prune``: exact rewriting, then fewer weights, judged on held-out samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import onnx_ir as ir

from onnxopt import pipeline, store
from onnxopt.api.budget import allows
from onnxopt.api.counting import counted, sizes_of
from onnxopt.api.crafting import exact_part, float_part, held_out_comparison, replayed, with_goal
from onnxopt.api.optimizing import step_json, time_both
from onnxopt.api.options import Budget, RunOptions
from onnxopt.api.prune_search import Probe, PruneSearch, search_share, to_confirm
from onnxopt.api.prune_steps import default_prune
from onnxopt.api.verification import verify_result
from onnxopt.api.workbench import DataSource, Workbench
from onnxopt.comparing import Comparison, Equivalence
from onnxopt.counting import sparsity
from onnxopt.data import Feeds
from onnxopt.errors import DataError
from onnxopt.pipeline import Observer, PipelineResult
from onnxopt.recipe import Recipe
from onnxopt.timing import BenchmarkResult
from onnxopt.transform import StepResult

PruneVerdict = Literal["pruned", "kept-whole"]
EXACT, PRUNED = "the exact model", "the pruned model"


@dataclass(frozen=True)
class Footprint:
    """What a model holds, multiplies and weighs.

    Attributes:
        parameters: Number of weights.
        zeros: How many weights of layers are zero.
        macs: Multiply-accumulates of one run on the first sample's sizes.
        size_bytes: Of its file.
        zlib_bytes: Of its file, compressed.
    """

    parameters: int
    zeros: int
    macs: int
    size_bytes: int
    zlib_bytes: int


@dataclass(frozen=True, eq=False)
class PruneResult:
    """What ``prune`` did.

    Attributes:
        model: What ships: the pruned model, also where it misses the budget; after a search
            the exact model where nothing pruned is inside.
        verdict: ``pruned``, or ``kept-whole`` where a search has found nothing inside the budget.
        fits: Whether what ships is inside the budget.
        why: The reason in a sentence.
        exact: What the exact passes did before.
        pruned: What the pruning passes did.
        after: What the target's float passes did after that.
        equivalence: The evidence that the exact passes changed nothing.
        comparison: The pruned model against the original, on held-out samples; None without data.
        footprints: The original's and the pruned model's.
        uncounted: Nodes of either whose multiply-accumulates are not known.
        benchmark: The exact model and the pruned one timed side by side; None where that was not
            asked for.
        saved: Where it was written; None where nothing was.
        probes: The shares that a search has tried, in order; empty without one.
    """

    model: ir.Model
    verdict: PruneVerdict
    fits: bool
    why: str
    exact: PipelineResult
    pruned: PipelineResult
    after: PipelineResult
    equivalence: Equivalence | None
    comparison: Comparison | None
    footprints: tuple[Footprint, Footprint]
    uncounted: tuple[str, ...]
    benchmark: BenchmarkResult | None
    saved: store.SavedModel | None
    probes: tuple[Probe, ...] = ()

    @property
    def steps(self) -> tuple[StepResult, ...]:
        """What each pass did, in order."""
        return self.exact.results + self.pruned.results + self.after.results

    @property
    def recipe(self) -> Recipe:
        """The whole recipe, spelled in full: replaying it needs no search."""
        return self.exact.recipe.then(replayed(self.pruned)).then(self.after.recipe)

    @property
    def summary(self) -> str:
        """The pruning passes' last word."""
        notes = [note.reason for step in self.pruned.results for note in step.notes[-1:]]
        return notes[-1] if notes else "no pruning step had anything to say"

    def to_json(self) -> dict[str, Any]:
        """The result as plain values, models left out."""
        before, after = self.footprints
        return {
            "verdict": self.verdict,
            "fits": self.fits,
            "why": self.why,
            "summary": self.summary,
            "recipe": str(self.recipe),
            "search": [asdict(probe) for probe in self.probes],
            "before": asdict(before),
            "after": asdict(after),
            "uncounted": list(self.uncounted),
            "steps": [step_json(step) for step in self.steps],
            "remarks": [*self.exact.remarks, *self.pruned.remarks, *self.after.remarks],
            "equivalence": self.equivalence.to_json() if self.equivalence else None,
            "comparison": self.comparison.to_json() if self.comparison else None,
            "benchmark": asdict(self.benchmark) if self.benchmark else None,
            "saved": asdict(self.saved) if self.saved else None,
        }


def prune(
    model: store.Source,
    output: Path | str | None = None,
    *,
    data: DataSource | None = None,
    recipe: str | Recipe | PruneSearch | None = None,
    budget: Budget | None = None,
    options: RunOptions | None = None,
    observer: Observer | None = None,
) -> PruneResult:
    """Prune a model, after the target's exact recipe.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; never changed.
        output: Where to write the pruned model; None writes nothing.
        data: Samples; split into calibration and held-out ones unless a ``Split`` is given.
        recipe: The pruning steps, those that recover included, see ``default_prune``; or a search
            for the most that the budget allows.
        budget: How much worse the result may be; by default a mean relative L2 error of 0.05.
        options: Target, threads, seed and so on.
        observer: Hears about each pass.

    Raises:
        MismatchError: An exact pass changed the outputs, or the result has other outputs; nothing
            was written.
        OnnxoptError: The model, data, recipe or target cannot be used.
    """
    budget = budget or Budget()
    bench = with_goal(Workbench.open(model, data, options or RunOptions()), budget)
    _check_data(bench, budget)
    exact, equivalence = exact_part(bench, observer)
    verdict: PruneVerdict = "pruned"
    probes: list[Probe] = []
    if isinstance(recipe, PruneSearch):
        probes = search_share(bench, exact, recipe, budget, observer)
        steps = to_confirm(recipe, probes)
        made = _confirmed(bench, exact, steps, budget, observer)
        if not made.pruned.changed:
            made, verdict = replace(made, fits=True, why=_why_whole(probes, made)), "kept-whole"
    else:
        default = default_prune(has_data=bench.data is not None)
        chain = bench.recipe(default if recipe is None else recipe)
        made = _made(bench, exact, chain, budget, observer)
    footprints, uncounted = _footprints(bench, made.after.model)
    timing = None
    if bench.options.measure and made.pruned.changed:
        exact_float = float_part(bench, exact)
        timing = time_both(bench, {EXACT: exact_float.model, PRUNED: made.after.model})
    saved = store.save(made.after.model, Path(output)) if output is not None else None
    return PruneResult(
        model=made.after.model,
        verdict=verdict,
        fits=made.fits,
        why=made.why,
        exact=exact,
        pruned=made.pruned,
        after=made.after,
        equivalence=equivalence,
        comparison=made.comparison,
        footprints=footprints,
        uncounted=uncounted,
        benchmark=timing,
        saved=saved,
        probes=tuple(probes),
    )


@dataclass(frozen=True, eq=False)
class _Made:
    """What a recipe made of the exact model, and how that was judged."""

    pruned: PipelineResult
    after: PipelineResult
    comparison: Comparison | None
    fits: bool
    why: str


def _made(
    bench: Workbench,
    exact: PipelineResult,
    chain: Recipe,
    budget: Budget,
    observer: Observer | None,
) -> _Made:
    pruned = pipeline.run(exact.model, chain, bench.context, observer)
    if bench.options.verify:
        verify_result(bench, exact.model, pruned)
    after = float_part(bench, pruned, observer)
    comparison, fits, why = _judged(bench, after.model, budget)
    if not pruned.changed:
        why = f"nothing was pruned; {why}"
    return _Made(pruned, after, comparison, fits, why)


def _confirmed(
    bench: Workbench,
    exact: PipelineResult,
    recipes: Sequence[str],
    budget: Budget,
    observer: Observer | None,
) -> _Made:
    """The last before the first that held-out samples do not confirm; the exact model before all,
    with the reason why the first was not.
    """
    best, why = None, ""
    for recipe in recipes:
        made = _made(bench, exact, bench.recipe(recipe), budget, observer)
        if observer is not None:
            observer.remark(f"{recipe}, on held-out samples: {made.why}")
        if not made.pruned.changed:
            continue
        if not made.fits:
            why = f"{recipe}, inside on search data: {made.why}"
            break
        best = made
    if best is not None:
        return best
    return replace(_made(bench, exact, Recipe(()), budget, None), why=why)


def _why_whole(probes: Sequence[Probe], made: _Made) -> str:
    """Why a search has come to nothing."""
    outside = [probe for probe in probes if not probe.fits]
    return made.why or f"no share is inside the budget; {outside[-1] if outside else probes[-1]}"


def _check_data(bench: Workbench, budget: Budget) -> None:
    if bench.data is None:
        if budget.is_stated:
            raise DataError("a budget without data to judge it on", todo="give some with --data")
    elif not len(bench.data.test):
        raise DataError("too little data to prune", "samples to fit with and to compare on")


def _judged(
    bench: Workbench, model: ir.Model, budget: Budget
) -> tuple[Comparison | None, bool, str]:
    if bench.data is None:
        return None, True, "not compared: there is no data"
    comparison = held_out_comparison(bench, model, budget)
    return comparison, *allows(comparison, budget)


def _footprints(
    bench: Workbench, model: ir.Model
) -> tuple[tuple[Footprint, Footprint], tuple[str, ...]]:
    """The original's and the result's, on the sizes of one sample."""
    (feeds,) = bench.some_feeds(1)
    before, unknown = _footprint(bench.specialized, feeds)
    after, more = _footprint(model, feeds)
    if bench.specialized is not bench.model:
        size = store.file_size(bench.model)
        before = replace(before, size_bytes=size.plain_bytes, zlib_bytes=size.zlib_bytes)
    return (before, after), (*unknown, *more)


def _footprint(model: ir.Model, feeds: Feeds) -> tuple[Footprint, tuple[str, ...]]:
    count = counted(model, sizes_of(model, feeds)).count
    size = store.file_size(model)
    zeros = sum(one.zeros for one in sparsity(model))
    found = Footprint(count.parameters, zeros, count.macs, size.plain_bytes, size.zlib_bytes)
    return found, count.uncounted
