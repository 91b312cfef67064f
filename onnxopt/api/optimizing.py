"""The verb ``optimize``: a recipe on a model, verified, perhaps timed, then written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import onnx_ir as ir

from onnxopt import pipeline, store
from onnxopt.api.options import RunOptions
from onnxopt.api.stateful import check_state
from onnxopt.api.verification import verify_result
from onnxopt.api.workbench import DataSource, Workbench
from onnxopt.comparing import Equivalence
from onnxopt.errors import UsageError
from onnxopt.pipeline import Observer, PipelineResult
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig
from onnxopt.transform import Need, Note, StepResult

if TYPE_CHECKING:
    from onnxopt.timing import BenchmarkResult

OptimizeVerdict = Literal["optimized", "unchanged", "kept-original"]


@dataclass(frozen=True, eq=False)
class OptimizeResult:
    """What ``optimize`` did.

    Attributes:
        model: What ships: the rewritten model, or the original where that was faster.
        verdict: ``optimized``; ``unchanged`` where no pass found anything; ``kept-original`` where
            the result was timed and is not surely faster.
        pipeline: What each pass did.
        equivalence: The evidence that both compute the same; None where it was not asked for.
        benchmark: Both timed; None where it was not asked for.
        saved: Where it was written; None where nothing was.
    """

    model: ir.Model
    verdict: OptimizeVerdict
    pipeline: PipelineResult
    equivalence: Equivalence | None
    benchmark: BenchmarkResult | None
    saved: store.SavedModel | None

    @property
    def steps(self) -> tuple[StepResult, ...]:
        """What each pass did, in order."""
        return self.pipeline.results

    def to_json(self) -> dict[str, Any]:
        """The result as plain values, models left out."""
        timing = self.benchmark
        return {
            "verdict": self.verdict,
            "recipe": str(self.pipeline.recipe),
            "exactness": self.pipeline.exactness.value,
            "steps": [step_json(step) for step in self.steps],
            "remarks": list(self.pipeline.remarks),
            "equivalence": self.equivalence.to_json() if self.equivalence else None,
            "benchmark": asdict(timing) if timing else None,
            "saved": asdict(self.saved) if self.saved else None,
        }


def optimize(
    model: store.Source,
    output: Path | str | None = None,
    *,
    recipe: str | Recipe | None = None,
    data: DataSource | None = None,
    options: RunOptions | None = None,
    observer: Observer | None = None,
) -> OptimizeResult:
    """Rewrite a model by a recipe.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; never changed.
        output: Where to write the result; None writes nothing.
        recipe: What to do; the target's exact recipe by default.
        data: Samples for verifying, and for passes that need data.
        options: Target, threads, seed and so on.
        observer: Hears about each pass.

    Raises:
        MismatchError: The result computes something else; nothing was written.
        UsageError: The recipe is lossy.
        OnnxoptError: The model, data, recipe or target cannot be used.
    """
    options = options or RunOptions()
    if data is None:
        check_state(options)
    bench = Workbench.open(model, data, options)
    given = None if recipe is None else bench.options.specialize.recipe.then(bench.recipe(recipe))
    chain = bench.exact_float if given is None else given
    if not chain.exactness.is_exact:
        lossy = [step.name for step in chain.passes() if not step.exactness.is_exact]
        raise UsageError(
            f"the recipe is lossy ({', '.join(lossy)})",
            "an exact recipe",
            "quantize and prune run lossy ones inside a budget (prune --recipe)",
        )
    spend = not _needs_original(model, chain, options)
    result = pipeline.run(bench.model, chain, bench.context, observer, spend=spend)
    equivalence = verify_result(bench, bench.model, result) if bench.options.verify else None
    timing = _time(bench, result) if bench.options.measure else None
    verdict: OptimizeVerdict = "optimized" if result.changed else "unchanged"
    if timing is not None and not timing.ratios[0].is_faster:
        verdict = "kept-original"
    ships = bench.model if verdict == "kept-original" else result.model
    saved = store.save(ships, Path(output)) if output is not None else None
    return OptimizeResult(ships, verdict, result, equivalence, timing, saved)


def _needs_original(source: store.Source, chain: Recipe, options: RunOptions) -> bool:
    """Whether anybody still looks at the model as it was loaded."""
    asked = options.verify or options.measure or isinstance(source, ir.Model)
    return asked or any(Need.TEACHER in step.needs for step in chain.passes())


def _time(bench: Workbench, result: PipelineResult) -> BenchmarkResult:
    return time_both(bench, {"the original": bench.model, "the result": result.model})


def time_both(
    bench: Workbench,
    models: Mapping[str, ir.Model],
    times: int = 1,
    sessions: Mapping[str, SessionConfig] = MappingProxyType({}),
) -> BenchmarkResult:
    """Time models by name side by side on the bench's target; ratios are over the first.

    Args:
        bench: For the target, samples and options.
        models: What to time.
        times: How many times as many rounds as usual.
        sessions: How to run those that are not run as the bench says.
    """
    from onnxopt.timing import BenchmarkConfig, Candidate, benchmark

    candidates = [Candidate(model, name, sessions.get(name)) for name, model in models.items()]
    config = BenchmarkConfig.usual(bench.session, bench.options.seed)
    config = replace(config, rounds=times * config.rounds)
    return benchmark(candidates, bench.some_feeds(), config, bench.options.progress)


def step_json(step: StepResult) -> dict[str, Any]:
    """A step as plain values."""
    return {
        "step": step.step,
        "exactness": step.exactness.value,
        "seconds": round(step.seconds, 4),
        "applied": step.applied,
        "refused": step.refused,
        "nodes": [step.before.nodes, step.after.nodes],
        "weight_bytes": [step.before.weight_bytes, step.after.weight_bytes],
        "notes": [_note_json(note) for note in step.notes],
    }


def _note_json(note: Note) -> dict[str, Any]:
    document = asdict(note)
    return document if note.figures else {k: v for k, v in document.items() if k != "figures"}
