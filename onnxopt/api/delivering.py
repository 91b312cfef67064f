"""From a model, data and a budget to a bundle: candidates made, compared, timed, the best kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxopt import store
from onnxopt.api.crafting import (
    exact_part,
    float_part,
    held_out_comparison,
    lossy_part,
    replayed,
    with_goal,
)
from onnxopt.api.layout import layouts_for
from onnxopt.api.optimizing import step_json
from onnxopt.api.options import Budget, RunOptions
from onnxopt.api.packaging import (
    GOLDEN_SAMPLES,
    data_entries,
    deltas,
    exactness_of,
    golden_samples,
    source_hash,
    versions,
)
from onnxopt.api.precision import settle_precision
from onnxopt.api.quantizing import lossy_name
from onnxopt.api.reaching import check_target
from onnxopt.api.workbench import DataSource, Workbench
from onnxopt.comparing import Comparison
from onnxopt.deploy import BundleContent, Manifest, check_destination, write_bundle
from onnxopt.errors import DataError
from onnxopt.pipeline import Observer
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig
from onnxopt.timing import BenchmarkConfig, BenchmarkResult, Measurement, Ratio
from onnxopt.timing import Candidate as Entrant
from onnxopt.timing import benchmark as time_candidates
from onnxopt.transform import StepResult

AS_SHIPPED = "as-shipped"
EXACT = "exact"


@dataclass(frozen=True, eq=False)
class Delivered:
    """One candidate with everything that is known of it.

    Attributes:
        name: ``as-shipped``, ``exact``, or how the caller calls its recipe.
        model: The model.
        recipe: What made it.
        steps: What each pass did.
        comparison: Against the original, on held-out samples; None for the original itself.
        measurement: Its latency, memory and size.
        ratio: Speed-up over the original; None for the original itself.
        fits: Whether it is inside the budget.
        verdict: The reason in a sentence.
        session: How it runs.
    """

    name: str
    model: ir.Model
    recipe: Recipe
    steps: tuple[StepResult, ...]
    comparison: Comparison | None
    measurement: Measurement
    ratio: Ratio | None
    fits: bool
    verdict: str
    session: SessionConfig = field(default_factory=SessionConfig)

    @property
    def is_faster(self) -> bool:
        """Whether it is surely faster than the original."""
        return self.ratio is not None and self.ratio.is_faster

    def to_json(self) -> dict[str, Any]:
        """The candidate as plain values, model and raw samples left out."""
        timing = asdict(self.measurement)
        timing.pop("samples_ms")
        timing.pop("model")
        return {
            "name": self.name,
            "recipe": str(self.recipe),
            "steps": [step_json(step) for step in self.steps],
            "comparison": self.comparison.to_json() if self.comparison else None,
            "measurement": timing,
            "ratio": asdict(self.ratio) if self.ratio else None,
            "fits": self.fits,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, eq=False)
class Delivery:
    """What was tried, what ships and where it is.

    Attributes:
        candidates: The original first.
        shipped: The fastest candidate inside the budget; the original where none is surely faster.
        benchmark: All timings.
        manifest: Of the bundle.
        bundle: Its folder.
    """

    candidates: tuple[Delivered, ...]
    shipped: Delivered
    benchmark: BenchmarkResult
    manifest: Manifest
    bundle: Path

    def to_json(self) -> dict[str, Any]:
        """The delivery as plain values."""
        return {
            "shipped": self.shipped.name,
            "bundle": str(self.bundle),
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "environment": asdict(self.benchmark.environment),
        }


@dataclass(frozen=True)
class DeliverPlan:
    """What to try and how long to measure.

    Attributes:
        recipes: Candidate name → steps that follow the exact recipe; the target's lossy recipe
            where there is none.
        timing: How long to measure; what is usual on the target's provider by default.
    """

    recipes: Mapping[str, str | Recipe]
    timing: BenchmarkConfig | None = None


def default_plan() -> DeliverPlan:
    """The target's own lossy recipe, as far as the budget allows, beside the exact model."""
    return DeliverPlan({})


@dataclass(frozen=True, eq=False)
class _Made:
    """A candidate before it was timed."""

    name: str
    model: ir.Model
    recipe: Recipe
    steps: tuple[StepResult, ...]
    session: SessionConfig
    comparison: Comparison | None = None
    fits: bool = True
    verdict: str = "the original"


def deliver(
    model: store.Source,
    output: Path | str,
    *,
    data: DataSource,
    budget: Budget | None = None,
    plan: DeliverPlan | None = None,
    options: RunOptions | None = None,
    observer: Observer | None = None,
    force: bool = False,
) -> Delivery:
    """Make candidates, compare each with the original, time all, bundle the best.

    What ships is the fastest candidate that is inside the budget and surely faster than the
    original (its whole speed-up interval lies above 1); else the original.

    Args:
        model: The original.
        output: The bundle's folder.
        data: Samples to calibrate with and to compare on.
        budget: How much worse the result may be.
        plan: What to try.
        options: Target, threads, seed and so on.
        observer: Hears about each pass.
        force: Replace an existing bundle.

    Raises:
        MismatchError: An exact pass changed the outputs; nothing was written.
        OnnxoptError: The model, data or target cannot be used.
    """
    folder = Path(output)
    check_destination(folder, force=force)
    budget, plan = budget or Budget(), plan or default_plan()
    bench = with_goal(Workbench.open(model, data, options or RunOptions()), budget)
    if bench.data is None or not len(bench.data.test):
        raise DataError("there are no held-out samples to compare with")
    check_target(bench)
    made = _make(bench, plan, budget, observer)
    timing = time_candidates(
        [Entrant(one.model, one.name, one.session) for one in made],
        bench.some_feeds(),
        _timing(plan, made[0].session, bench.options.seed),
        bench.options.progress,
    )
    ratios = {ratio.candidate: ratio for ratio in timing.ratios}
    found = tuple(
        _delivered(one, timing.measurement(one.name), ratios.get(one.name)) for one in made
    )
    shipped = _best(found)
    manifest = write_bundle(_content(model, bench, found, shipped, timing), folder, force=force)
    return Delivery(found, shipped, timing, manifest, folder)


def _timing(plan: DeliverPlan, session: SessionConfig, seed: int) -> BenchmarkConfig:
    if plan.timing is None:
        return BenchmarkConfig.usual(session, seed)
    return replace(plan.timing, session=session, seed=seed)


def _make(
    bench: Workbench, plan: DeliverPlan, budget: Budget, observer: Observer | None
) -> list[_Made]:
    plain = bench.at(precision="fp32")
    original = _Made(AS_SHIPPED, bench.model, Recipe(()), (), plain.session)
    exact, _ = exact_part(bench, observer)
    best = float_part(bench, exact, observer)
    whole, steps = exact.recipe.then(best.recipe), exact.results + best.results
    compared = held_out_comparison(plain, best.model, budget)
    made = [original, _Made(EXACT, best.model, whole, steps, plain.session, compared)]
    made[1] = replace(made[1], verdict=_exact_verdict(bench))
    settled = settle_precision(bench, best.model, budget)
    if settled.comparison is not None:
        name, judged = f"{EXACT}-{bench.session.precision}", (settled.fits, settled.why)
        session, compared = bench.session, settled.comparison
        made.append(_Made(name, best.model, whole, steps, session, compared, *judged))
    bench = settled.bench
    recipes = plan.recipes or {lossy_name(bench.target): bench.target.lossy_recipe}
    for name, recipe in recipes.items():
        lossy = lossy_part(bench, exact, bench.recipe(recipe), budget, observer)
        whole = exact.recipe.then(replayed(lossy.result))
        steps = exact.results + lossy.result.results
        model, found = lossy.result.model, lossy.comparison
        judged = (lossy.fits, lossy.why)
        usual, *others = layouts_for(bench, model)
        for layout in (usual, *others):
            called = name if layout == usual else f"{name}-{layout}"
            session = replace(bench.session, layout=layout)
            made.append(_Made(called, model, whole, steps, session, found, *judged))
    return made


def _exact_verdict(bench: Workbench) -> str:
    return "computes the same, " + ("verified" if bench.options.verify else "not verified")


def _delivered(made: _Made, measurement: Measurement, ratio: Ratio | None) -> Delivered:
    return Delivered(
        name=made.name,
        model=made.model,
        recipe=made.recipe,
        steps=made.steps,
        comparison=made.comparison,
        measurement=measurement,
        ratio=ratio,
        fits=made.fits,
        verdict=made.verdict,
        session=made.session,
    )


def _timing_json(timing: BenchmarkResult) -> dict[str, Any]:
    """All timings as plain values; candidates by name, not by their temporary files."""
    document = asdict(timing)
    for measured in document["measurements"]:
        measured["model"] = measured["name"]
    return document


def _best(found: Sequence[Delivered]) -> Delivered:
    better = [one for one in found if one.fits and one.is_faster]
    return max(better, key=lambda one: one.ratio.speedup if one.ratio else 1.0, default=found[0])


def _content(
    source: store.Source,
    bench: Workbench,
    found: Sequence[Delivered],
    shipped: Delivered,
    timing: BenchmarkResult,
) -> BundleContent:
    comparisons = {one.name: one.comparison.to_json() for one in found if one.comparison}
    return BundleContent(
        model=shipped.model,
        name=Path(bench.origin).stem,
        candidate=shipped.name,
        verdict=shipped.verdict,
        verified=bench.options.verify,
        exactness=exactness_of(shipped.model, shipped.session.precision),
        target=bench.target.name,
        provider=bench.target.provider,
        threads=bench.options.threads,
        precision=shipped.session.precision,
        layout=shipped.session.layout,
        source=bench.origin,
        source_sha256=source_hash(source),
        recipe=str(shipped.recipe),
        steps=deltas(shipped.steps),
        samples=golden_samples(shipped.model, bench.some_feeds(GOLDEN_SAMPLES), shipped.session),
        data=data_entries(bench.data),
        versions=versions(),
        measured={
            "comparison.json": comparisons,
            "benchmark.json": _timing_json(timing),
            "environment.json": asdict(timing.environment),
        },
    )
