"""One search for the best mix of integers and floats, and what there is to say about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxopt.calibrate import Statistics
from onnxopt.graph import label
from onnxopt.targets import Target
from onnxopt.transform import Context, Note
from onnxopt_passes._trial import (
    DEFAULT_GOAL,
    UNSURE_ERROR,
    Trial,
    error_share,
    session_config,
)
from onnxopt_passes.quantize import _noise_cache
from onnxopt_passes.quantize._bench import Bench
from onnxopt_passes.quantize._gains import gain_ns, macs
from onnxopt_passes.quantize._noise import Noise
from onnxopt_passes.quantize._open_sizes import open_sizes
from onnxopt_passes.quantize._ranges import ranges_of
from onnxopt_passes.quantize._search import MOST_STEPS, MOST_TRIALS, Field, Placement, Tried, search
from onnxopt_passes.quantize._selection import Wanted, candidates
from onnxopt_passes.quantize._sensitivity import affordable_samples, measure_noise
from onnxopt_passes.quantize._static import exhaust, quantize_units, sizes_of
from onnxopt_passes.quantize._units import Unit
from onnxopt_passes.quantize.quantize_static import QuantizeStatic
from onnxopt_passes.quantize.refine_rounding import RefineRounding

_REFINED = RefineRounding(samples=24, positions=4096, strengths=(0.3,))
_QUIET = 1e-3  # share of the allowed noise below which sources need not be told apart


class Mixing:
    """One search: the float model, its units, and what was found out about them.

    Args:
        options: How to quantize, whatever the choice.
        base: The float model; it is not changed.
        units: Its units, all of which can be quantized.
        statistics: Of the tensors around them.
        target: The device, with an integer scheme.
        context: For data, goal and cache.
        refined: Whether weights will be rounded anew once the choice is made.
    """

    def __init__(
        self,
        options: QuantizeStatic,
        base: ir.Model,
        units: Sequence[Unit],
        statistics: Statistics,
        target: Target,
        context: Context,
        refined: bool = False,
    ) -> None:
        if target.int8 is None:
            raise ValueError(f"{target.name} has no int8 scheme")
        self._options, self._base, self._units = options, base, units
        self._statistics, self._target, self._context = statistics, target, context
        self._refined = refined
        self._scheme = target.int8
        self._ranges = ranges_of(statistics, options.method, options.percentile, self._scheme)
        self._goal = context.goal or DEFAULT_GOAL
        self._field = Field(units, sizes_of(base, units, context), self._scheme)
        self._tried: list[Tried] = []
        self._attempts = 0
        self._noise = Noise()
        self._trial: Trial | None = None

    def best(self) -> Tried:
        """The fastest placement found that fits; none at all where no other does."""
        first = self._field.fastest()
        if not first:
            return Tried(first, 0.0, None, fits=True)
        self._trial = Trial(self._context.teacher or self._base, self._context)
        self._tried = [self._attempt(first, refined=False)]
        if self._refined and not self._tried[-1].fits:
            self._tried.append(self._attempt(first))
        if not self._tried[-1].fits:
            self._noise = self._measured()
            limit = self._goal.max_error
            aim = None if limit is None else error_share(self._goal) * limit
            self._tried += search(self._field, self._noise, self._attempt, aim)
        fit = [one for one in self._tried if one.fits]
        nothing = Tried(frozenset(), 0.0, None, fits=True)
        return max(fit, key=lambda one: one.saved_ns, default=nothing)

    def applied_to(self, model: ir.Model, best: Tried) -> Iterator[Note]:
        """Quantize the model itself, with notes on every unit and on how to do it again."""
        gains = {label(unit.node): self._figures(unit) for unit in self._units}
        chosen = self._build(model, best.chosen)
        names = (label(unit.node) for unit in self._units if unit in best.chosen)
        replay = replace(self._options, only=tuple(dict.fromkeys(names)))
        saved = self._field.saved_ns(self._field.fastest())
        share = best.saved_ns / saved if saved else 1.0
        outcome = f", {best.outcome} on search data" if best.outcome else ""
        yield Note(
            "applied",
            model.graph.name or "model",
            f"{len(best.chosen)} of {len(self._field.fastest())} nodes that gain are in integers, "
            f"for {share:.0%} of the gain{outcome}; again without a search: {replay}",
            {"replay": str(replay), "integers": len(best.chosen), "gain_share": share},
        )
        for note in chosen:
            yield replace(note, figures=gains.get(note.node, {}))

    def left_in_float(self, best: Tried) -> Iterator[Note]:
        """Notes on units that would gain, but for the noise they add."""
        for unit in self._units:
            if unit in best.chosen or unit.weight is None:
                continue
            figures = self._figures(unit)
            gain_us = gain_ns(unit, self._field.sizes, self._scheme) / 1000
            if gain_us <= 0:
                reason = f"its float kernel is {-gain_us:.2g} us a sample faster"
            elif figures:
                reason = (
                    f"integers would save {gain_us:.2g} us a sample, for an error of "
                    f"{figures['error']:.2g} by themselves"
                )
            else:
                reason = f"integers would save {gain_us:.2g} us, less than conversions take"
            yield Note("refused", label(unit.node), reason, figures)
        if not best.chosen and self._tried:
            name = self._base.graph.name or "model"
            hint = open_sizes(self._base, self._target)
            reason = "no placement of integers is inside the goal"
            yield Note.refused(name, f"{reason}; {hint}" if hint else reason)

    def _figures(self, unit: Unit) -> dict[str, float | str]:
        if self._noise == Noise():
            return {}
        gain_us = gain_ns(unit, self._field.sizes, self._scheme) / 1000
        return {"error": self._noise.around(unit) ** 0.5, "gain_us": gain_us}

    def _attempt(self, chosen: Placement, refined: bool = True) -> Tried:
        if self._trial is None:
            raise RuntimeError("there is nothing to try on")
        self._attempts += 1
        self._context.progress("try placements", self._attempts, MOST_TRIALS + MOST_STEPS)
        variant = self._base.clone()
        self._build(variant, chosen)
        if refined and self._refined:
            self._refine(variant)
        outcome = self._trial.of(variant)
        fits = outcome.meets(self._goal)
        return Tried(chosen, self._field.saved_ns(chosen), outcome, fits)

    def _refine(self, variant: ir.Model) -> None:
        """Round a variant's weights anew, with less data than the step that follows."""
        teacher = self._context.teacher or self._base
        for _ in _REFINED.rewrite(variant, replace(self._context, teacher=teacher)):
            pass

    def _build(self, model: ir.Model, chosen: Placement) -> list[Note]:
        names = {label(unit.node) for unit in chosen}
        wanted = Wanted(self._options.op_types, self._options.skip)
        found = exhaust(candidates(model, self._target, wanted))[1]
        units = [unit for unit in found if label(unit.node) in names]
        return list(quantize_units(model, units, self._target, self._ranges, self._statistics))

    def _measured(self) -> Noise:
        """The noise of each source, from the cache where it is known."""
        if self._trial is None or self._tried[0].outcome is None:
            return Noise()
        limit = self._goal.max_error or UNSURE_ERROR
        bench = Bench(self._base, self._units, self._ranges, self._scheme)
        work = sum(macs(unit, self._field.sizes) for unit in self._units)
        count = affordable_samples(len(bench.sources()), work)
        drawn, error = self._trial.drawn(self._tried[0].outcome, count), self._trial.error
        config, progress = session_config(self._context), self._context.progress
        return _noise_cache.cached(
            self._context.cache,
            bench,
            drawn,
            lambda: measure_noise(bench, drawn, config, _QUIET * limit**2, progress, error),
        )
