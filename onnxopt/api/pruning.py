"""The verb ``prune``: exact rewriting, then fewer weights, judged on held-out samples."""

from __future__ import annotations

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
from onnxopt.api.verification import verify_result
from onnxopt.api.workbench import DataSource, Workbench
from onnxopt.comparing import Comparison, Equivalence
from onnxopt.counting import sparsity
from onnxopt.data import Feeds
from onnxopt.errors import DataError, UsageError
from onnxopt.pipeline import Observer, PipelineResult
from onnxopt.recipe import Recipe
from onnxopt.timing import BenchmarkResult
from onnxopt.transform import StepResult

PruneKind = Literal["channels", "magnitude", "nm"]
DEFAULT_KEEP: dict[PruneKind, float] = {"channels": 0.7, "magnitude": 0.5, "nm": 0.5}
EXACT, PRUNED = "the exact model", "the pruned model"
_GROUPS = (4, 8, 16)
_CLOSE = 1e-9


def default_prune(
    kind: PruneKind = "channels", keep: float | None = None, *, has_data: bool = True
) -> str:
    """The pruning steps of the verb where none are given.

    Args:
        kind: ``channels`` takes out whole channels, ``magnitude`` and ``nm`` make zeros.
        keep: Share of the channels or weights that stays; for ``nm`` it has to be N of 4, 8 or 16.
            By default 0.7 of the channels, half of the weights.
        has_data: Whether there are samples to fit what remains to.

    Raises:
        UsageError: There is no such share.
    """
    share = DEFAULT_KEEP[kind] if keep is None else keep
    if not 0 < share < 1:
        raise UsageError(f"keep {share}", "a share between 0 and 1, such as 0.7")
    match kind:
        case "channels":
            fit = " | reconstruct-layers" if has_data else ""
            return f"prune-channels{{keep={share}}}{fit}"
        case "magnitude":
            return f"prune-magnitude{{amount={round(1 - share, 9)}}}"
        case "nm":
            fits = (m for m in _GROUPS if abs(share * m - round(share * m)) < _CLOSE)
            group = next(fits, None)
            if group is None:
                raise UsageError(f"keep {share} of N:M", "N of 4, 8 or 16, such as 0.5 for 2:4")
            return f"prune-n-of-m{{n={round(share * group)}, m={group}}}"


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
        model: What ships: the pruned model, also where it misses the budget.
        fits: Whether it is inside the budget.
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
    """

    model: ir.Model
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
            "fits": self.fits,
            "why": self.why,
            "summary": self.summary,
            "recipe": str(self.recipe),
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
    recipe: str | Recipe | None = None,
    budget: Budget | None = None,
    options: RunOptions | None = None,
    observer: Observer | None = None,
) -> PruneResult:
    """Prune a model, after the target's exact recipe.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; never changed.
        output: Where to write the pruned model; None writes nothing.
        data: Samples; split into calibration and held-out ones unless a ``Split`` is given.
        recipe: The pruning steps, those that recover included; see ``default_prune``.
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
    chain = bench.recipe(
        default_prune(has_data=bench.data is not None) if recipe is None else recipe
    )
    exact, equivalence = exact_part(bench, observer)
    pruned = pipeline.run(exact.model, chain, bench.context, observer)
    if bench.options.verify:
        verify_result(bench, exact.model, pruned)
    after = float_part(bench, pruned, observer)
    comparison, fits, why = _judged(bench, after.model, budget)
    if not pruned.changed:
        why = f"nothing was pruned; {why}"
    footprints, uncounted = _footprints(bench, after.model)
    timing = None
    if bench.options.measure:
        exact_float = float_part(bench, exact)
        timing = time_both(bench, {EXACT: exact_float.model, PRUNED: after.model})
    saved = store.save(after.model, Path(output)) if output is not None else None
    return PruneResult(
        model=after.model,
        fits=fits,
        why=why,
        exact=exact,
        pruned=pruned,
        after=after,
        equivalence=equivalence,
        comparison=comparison,
        footprints=footprints,
        uncounted=uncounted,
        benchmark=timing,
        saved=saved,
    )


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
