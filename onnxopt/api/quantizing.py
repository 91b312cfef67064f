"""The verb ``quantize``: exact rewriting, then int8, inside a budget or not at all."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import onnx_ir as ir

from onnxopt import pipeline, store
from onnxopt.api.budget import allows, criteria_of
from onnxopt.api.optimizing import step_json, time_both
from onnxopt.api.options import Budget, RunOptions
from onnxopt.api.verification import verify_result
from onnxopt.api.workbench import DataSource, Workbench
from onnxopt.comparing import Comparison, Equivalence, compare
from onnxopt.errors import DataError
from onnxopt.pipeline import Observer, PipelineResult
from onnxopt.recipe import Recipe
from onnxopt.timing import BenchmarkResult
from onnxopt.transform import StepResult

QuantizeVerdict = Literal["int8", "kept-float"]
DEFAULT_QUANTIZE = "quantize-static"


@dataclass(frozen=True, eq=False)
class QuantizeResult:
    """What ``quantize`` did.

    Attributes:
        model: What ships.
        verdict: ``int8``, or ``kept-float`` where int8 misses the budget or is not faster.
        why: The reason in a sentence.
        exact: What the exact passes did before.
        quantized: What the quantizing passes did.
        equivalence: The evidence that the exact passes changed nothing.
        comparison: The quantized model against the original, on held-out samples.
        benchmark: Original and quantized model timed; None where it was not asked for.
        saved: Where it was written; None where nothing was.
    """

    model: ir.Model
    verdict: QuantizeVerdict
    why: str
    exact: PipelineResult
    quantized: PipelineResult
    equivalence: Equivalence | None
    comparison: Comparison
    benchmark: BenchmarkResult | None
    saved: store.SavedModel | None

    @property
    def steps(self) -> tuple[StepResult, ...]:
        """What each pass did, in order."""
        return self.exact.results + self.quantized.results

    @property
    def recipe(self) -> Recipe:
        """The whole recipe, spelled in full."""
        return self.exact.recipe.then(self.quantized.recipe)

    def to_json(self) -> dict[str, Any]:
        """The result as plain values, models left out."""
        return {
            "verdict": self.verdict,
            "why": self.why,
            "recipe": str(self.recipe),
            "steps": [step_json(step) for step in self.steps],
            "remarks": [*self.exact.remarks, *self.quantized.remarks],
            "equivalence": self.equivalence.to_json() if self.equivalence else None,
            "comparison": self.comparison.to_json(),
            "benchmark": asdict(self.benchmark) if self.benchmark else None,
            "saved": asdict(self.saved) if self.saved else None,
        }


def quantize(
    model: store.Source,
    output: Path | str | None = None,
    *,
    data: DataSource,
    recipe: str | Recipe = DEFAULT_QUANTIZE,
    budget: Budget | None = None,
    options: RunOptions | None = None,
    observer: Observer | None = None,
) -> QuantizeResult:
    """Quantize a model, after the target's exact recipe.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; never changed.
        output: Where to write what ships; None writes nothing.
        data: Samples; split into calibration and held-out ones unless a ``Split`` is given.
        recipe: The quantizing steps.
        budget: How much worse the result may be; by default a mean relative L2 error of 0.05.
        options: Target, threads, seed and so on.
        observer: Hears about each pass.

    Raises:
        MismatchError: An exact pass changed the outputs; nothing was written.
        OnnxoptError: The model, data, recipe or target cannot be used.
    """
    budget = budget or Budget()
    bench = Workbench.open(model, data, options or RunOptions())
    criteria = criteria_of(budget, bench.options.seed)
    parts = bench.data
    if parts is None or not len(parts.calibration) or not len(parts.test):
        raise DataError("too little data to quantize", "samples to calibrate and to compare with")
    exact = pipeline.run(bench.model, bench.exact, bench.context, observer)
    equivalence = verify_result(bench, bench.model, exact) if bench.options.verify else None
    quantized = pipeline.run(exact.model, bench.recipe(recipe), bench.context, observer)
    if bench.options.verify:
        verify_result(bench, exact.model, quantized)
    comparison = compare(
        bench.model,
        quantized.model,
        parts.test,
        criteria,
        config=replace(bench.session, spinning=False),
        progress=bench.options.progress,
    )
    fits, why = allows(comparison, budget)
    if not quantized.changed:
        fits, why = False, "no quantizing step found anything worth its while"
    timing = None
    if fits and bench.options.measure:
        pair = {"the exact float model": _float_model(bench), "int8": quantized.model}
        timing = time_both(bench, pair)
        ratio = timing.ratios[0]
        if not ratio.is_faster:
            fits, why = (
                False,
                (
                    f"int8 runs at {ratio.speedup:.2f}× [{ratio.low:.2f}, {ratio.high:.2f}] "
                    "the speed of the exact float model"
                ),
            )
    ships = quantized.model if fits else _float_model(bench)
    saved = store.save(ships, Path(output)) if output is not None else None
    verdict: QuantizeVerdict = "int8" if fits else "kept-float"
    return QuantizeResult(
        ships, verdict, why, exact, quantized, equivalence, comparison, timing, saved
    )


def _float_model(bench: Workbench) -> ir.Model:
    """What ships where int8 does not: all that is exact, verified."""
    result = pipeline.run(bench.model, bench.exact_float, bench.context)
    if bench.options.verify:
        verify_result(bench, bench.model, result)
    return result.model
