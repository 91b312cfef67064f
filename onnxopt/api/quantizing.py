"""The verb ``quantize``: exact rewriting, then int8, inside a budget or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import onnx_ir as ir

from onnxopt import store
from onnxopt.api.crafting import (
    exact_part,
    float_part,
    lossy_part,
    replayed,
    with_goal,
)
from onnxopt.api.data_warnings import data_warnings
from onnxopt.api.layout import fastest_layout
from onnxopt.api.optimizing import step_json, time_both
from onnxopt.api.options import Budget, RunOptions
from onnxopt.api.precision import settle_precision
from onnxopt.api.reaching import check_target, missing_provider
from onnxopt.api.workbench import DataSource, Workbench, usable_target
from onnxopt.comparing import Comparison, Equivalence
from onnxopt.data import Split
from onnxopt.errors import DataError, RecipeError, UsageError
from onnxopt.pipeline import Observer, PipelineResult
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig
from onnxopt.targets import Target
from onnxopt.timing import BenchmarkResult
from onnxopt.transform import Need, StepResult

LossyName = Literal["int8", "float16"]
QuantizeVerdict = LossyName | Literal["kept-float"]


def default_quantize(method: str, options: RunOptions) -> Recipe:
    """The target's own quantizing steps, with another way to read ranges.

    Args:
        method: How ranges are read from the statistics.
        options: Which target.

    Raises:
        UsageError: The target is unknown, or none of its steps reads ranges.
    """
    target = usable_target(options)
    try:
        return Recipe.parse(target.lossy_recipe).with_option("method", method)
    except RecipeError as error:
        raise UsageError(
            f"--method {method}: what {target.name} does ({target.lossy_recipe}) reads no ranges",
            todo="leave out --method, or give the steps with --recipe",
        ) from error


def lossy_name(target: Target) -> LossyName:
    """What a target takes precision for: integers, or half precision where it has none."""
    return "float16" if target.int8 is None else "int8"


_TOP_ROWS = 20
_LOWERING = ("quantize-", "convert-")  # steps before and after these only prepare and repair
_MORE_ROUNDS = 4  # where a busy machine hides which model is faster
_DATA = Need.DATA.value
_FLOAT = "the exact float model"


@dataclass(frozen=True, eq=False)
class QuantizeResult:
    """What ``quantize`` did.

    Attributes:
        model: What ships.
        verdict: ``int8`` (``float16`` on targets without integers), or ``kept-float`` where that
            misses the budget or is not faster.
        fits: Whether what ships is inside the budget, and faster where that was measured.
        why: The reason in a sentence.
        exact: What the exact passes did before.
        quantized: What the quantizing passes did.
        equivalence: The evidence that the exact passes changed nothing.
        comparison: The quantized model against the original, on held-out samples.
        benchmark: The exact float model and the quantized one timed side by side; None where it
            was not asked for or int8 is out anyway.
        saved: Where it was written; None where nothing was.
        target: What the verdict speaks of: the target, or the one it falls back to where this
            machine lacks its precision, with the precision to use beside the integers (its own
            where the float model keeps the budget at it, else fp32) and the layout.
        about_data: What a look at the samples says against them, one sentence each.
        float_comparison: The exact model at the target's own precision against the original;
            None where that is fp32.
    """

    model: ir.Model
    verdict: QuantizeVerdict
    fits: bool
    why: str
    exact: PipelineResult
    quantized: PipelineResult
    equivalence: Equivalence | None
    comparison: Comparison
    benchmark: BenchmarkResult | None
    saved: store.SavedModel | None
    target: Target
    float_comparison: Comparison | None
    about_data: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[StepResult, ...]:
        """What each pass did, in order."""
        return self.exact.results + self.quantized.results

    @property
    def recipe(self) -> Recipe:
        """The whole recipe, spelled in full: replaying it needs no search."""
        return self.exact.recipe.then(replayed(self.quantized))

    @property
    def integers(self) -> int:
        """How many nodes were put into integers."""
        steps = [step for step in self.quantized.results if step.step.startswith(_LOWERING)]
        notes = (note for step in steps for note in step.notes)
        return sum(note.kind == "applied" and "replay" not in note.figures for note in notes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the data leaves to be desired, one sentence each."""
        notes = (note for step in self.quantized.results for note in step.notes)
        found = (note.reason for note in notes if note.node == _DATA)
        return tuple(dict.fromkeys([*self.about_data, *found]))

    @property
    def sensitivities(self) -> tuple[dict[str, Any], ...]:
        """What the outputs' error owes to each node in integers, the most first.

        Rows of ``node``, ``error`` (relative L2, the rest in float), ``gain_us`` (what integers
        save by the target's figures) and ``integers`` (whether it is in integers); empty where
        nothing had to be measured.
        """
        notes = [note for step in self.quantized.results for note in step.notes]
        rows = [
            {"node": note.node, **note.figures, "integers": note.kind == "applied"}
            for note in notes
            if "error" in note.figures
        ]
        return tuple(sorted(rows, key=lambda row: -float(row["error"])))

    @property
    def summary(self) -> str:
        """One line: how much is in integers or half precision, and what limits it."""
        notes = [note for step in self.quantized.results for note in step.notes]
        known = (note.reason for note in notes if note.figures.keys() & {"replay", "casts"})
        found = next(known, None)
        if found is not None:
            return found.split("; again")[0]
        return f"{self.integers} nodes are in integers"

    def to_json(self) -> dict[str, Any]:
        """The result as plain values, models left out."""
        return {
            "verdict": self.verdict,
            "fits": self.fits,
            "why": self.why,
            "summary": self.summary,
            "warnings": list(self.warnings),
            "target": self.target.name,
            "provider": self.target.provider,
            "precision": self.target.session.precision,
            "layout": self.target.session.layouts[0],
            "recipe": str(self.recipe),
            "sensitivities": list(self.sensitivities[:_TOP_ROWS]),
            "steps": [step_json(step) for step in self.steps],
            "remarks": [*self.exact.remarks, *self.quantized.remarks],
            "equivalence": self.equivalence.to_json() if self.equivalence else None,
            "comparison": self.comparison.to_json(),
            "float_comparison": self.float_comparison.to_json() if self.float_comparison else None,
            "benchmark": asdict(self.benchmark) if self.benchmark else None,
            "saved": asdict(self.saved) if self.saved else None,
        }


def quantize(
    model: store.Source,
    output: Path | str | None = None,
    *,
    data: DataSource,
    recipe: str | Recipe | None = None,
    budget: Budget | None = None,
    options: RunOptions | None = None,
    observer: Observer | None = None,
) -> QuantizeResult:
    """Quantize a model, after the target's exact recipe.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; never changed.
        output: Where to write what ships; None writes nothing.
        data: Samples; split into calibration and held-out ones unless a ``Split`` is given.
        recipe: The quantizing steps; the target's own by default.
        budget: How much worse the result may be; by default a mean relative L2 error of 0.05.
        options: Target, threads, seed and so on.
        observer: Hears about each pass.

    Raises:
        MismatchError: An exact pass changed the outputs; nothing was written.
        OnnxoptError: The model, data, recipe or target cannot be used.
    """
    budget = budget or Budget()
    bench = with_goal(Workbench.open(model, data, options or RunOptions(measure=True)), budget)
    _check(bench)
    exact, equivalence = exact_part(bench, observer)
    floated = float_part(bench, exact, observer)
    settled = settle_precision(bench, floated.model, budget)
    bench, name = settled.bench, lossy_name(bench.target)
    steps = bench.recipe(bench.target.lossy_recipe if recipe is None else recipe)
    lossy = lossy_part(bench, exact, steps, budget, observer)
    quantized, fits, why = lossy.result, lossy.fits, lossy.why
    lossy_steps = not quantized.exactness.is_exact
    if not lossy_steps:
        fits, why = False, _why_nothing(quantized)
    timing, wins = None, bench
    if bench.options.measure and lossy_steps and (fits or budget.int8_anyway):
        wins = bench.at(layout=fastest_layout(bench, quantized.model))
        models = {_FLOAT: floated.model, name: quantized.model}
        timing = _timed(bench, models, {name: wins.session})
        if fits and not timing.ratios[0].is_faster:
            fits, why = False, _why_slow(timing)
    why += _judged_elsewhere(bench)
    int8 = lossy_steps and (fits or budget.int8_anyway)
    ships = quantized.model if int8 else floated.model
    saved = store.save(ships, Path(output)) if output is not None else None
    return QuantizeResult(
        model=ships,
        verdict=name if int8 else "kept-float",
        fits=fits or not int8,
        why=why,
        exact=exact,
        quantized=quantized,
        equivalence=equivalence,
        comparison=lossy.comparison,
        benchmark=timing,
        saved=saved,
        target=(wins if int8 else bench).target,
        float_comparison=settled.comparison,
        about_data=() if bench.data is None else _about(bench.data),
    )


def _about(data: Split) -> tuple[str, ...]:
    return data_warnings((data.calibration, data.search, data.test))


def _check(bench: Workbench) -> None:
    """Find out now, not after the search."""
    parts = bench.data
    if bench.options.measure:
        check_target(bench)
    if parts is None or not len(parts.calibration) or not len(parts.test):
        raise DataError("too little data to quantize", "samples to calibrate and to compare with")


def _judged_elsewhere(bench: Workbench) -> str:
    """What to add to a verdict that the target's own provider had no part in."""
    missing = missing_provider(bench)
    if not missing:
        return ""
    return (
        f"; all figures are of the CPU provider, not of {bench.target.name}'s: {missing}; "
        f"compare again where it runs"
    )


def _why_nothing(quantized: PipelineResult) -> str:
    """The passes' own last word, where they have one."""
    notes = [note for step in quantized.results for note in step.notes]
    about_all = [
        note.reason for note in notes if note.node == (quantized.model.graph.name or "model")
    ]
    if about_all:
        return about_all[-1]
    nothing = "no quantizing step found anything worth its while"
    refused = ([n for n in s.notes if n.kind == "refused"] for s in quantized.results)
    steps = (Counter(n.reason for n in step if n.node != _DATA) for step in refused)
    reasons = next((found for found in reversed(list(steps)) if found), None)
    if reasons is None:
        return nothing
    ((reason, count),) = reasons.most_common(1)
    return f"{nothing}; {count} of {reasons.total()} nodes: {reason}"


def _timed(
    bench: Workbench, models: Mapping[str, ir.Model], sessions: Mapping[str, SessionConfig]
) -> BenchmarkResult:
    """Both timed; anew with more rounds, which alone count, where the first cannot tell."""
    timing = time_both(bench, models, sessions=sessions)
    ratio = timing.ratios[0]
    told = ratio.is_faster or ratio.is_slower
    return timing if told else time_both(bench, models, _MORE_ROUNDS, sessions)


def _why_slow(timing: BenchmarkResult) -> str:
    ratio = timing.ratios[0]
    return (
        f"{ratio.candidate} runs at {ratio.speedup:.2f}× [{ratio.low:.2f}, {ratio.high:.2f}] "
        "the speed of the exact float model"
    )
