"""Looks for the largest share of a model that can go inside a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from onnxopt import pipeline
from onnxopt.api.budget import criteria_of
from onnxopt.api.crafting import compared_on
from onnxopt.api.options import Budget
from onnxopt.api.prune_steps import PruneKind, default_prune, shares
from onnxopt.api.workbench import Workbench
from onnxopt.data import Dataset, split
from onnxopt.errors import DataError
from onnxopt.metrics import MIN_SAMPLES, Interval
from onnxopt.pipeline import Observer, PipelineResult
from onnxopt.recipe import Recipe

_SHARE, _MOST_SHARE = 0.25, 0.5  # of the calibration data, where nothing is set apart for choices
_MOST_SAMPLES = 512
_ERROR_SHARE = 0.85
_LOSS_SHARE = 0.5
_CLOSE_ERROR = 0.1  # relative L2


@dataclass(frozen=True)
class PruneSearch:
    """In place of pruning steps: the least share to keep that leaves the model inside the budget.

    Shares are bisected; each is judged on search data, in the middle of what the budget allows. The
    samples of the verdict then have to confirm half of what may go, three quarters of it, and all,
    in that order, up to the first that they do not: each is a test of its own, and their chance of
    an error does not add up (fixed-sequence testing, Maurer et al., 1995). The same model, data,
    seed and threads give the same share.

    Attributes:
        kind: What is pruned, see ``default_prune``.
    """

    kind: PruneKind = "channels"


@dataclass(frozen=True)
class Probe:
    """A share that was tried.

    Attributes:
        keep: The share that stays.
        recipe: The steps.
        error: Mean relative L2 error on search data.
        loss: Of the metric, positive where it is worse; None without one.
        fits: Whether unseen data can be expected to confirm the budget.
        pruned: Whether anything went; a share close to one may round to nothing.
    """

    keep: float
    recipe: str
    error: float | None
    loss: float | None
    fits: bool
    pruned: bool

    def __str__(self) -> str:
        error = "" if self.error is None else f"error {self.error:.3g}"
        loss = "" if self.loss is None else f"{', ' if error else ''}loss {self.loss:+.3g}"
        if not self.pruned:
            return f"keep {self.keep:g}: nothing goes"
        return f"keep {self.keep:g}: {error}{loss}, {'inside' if self.fits else 'outside'}"


def search_share(
    bench: Workbench,
    exact: PipelineResult,
    search: PruneSearch,
    budget: Budget,
    observer: Observer | None,
) -> list[Probe]:
    """Bisect the shares of a kind of pruning: what was tried, in order; the last that fits is best.

    Args:
        bench: With the goal.
        exact: What is pruned.
        search: For what.
        budget: To stay inside.
        observer: Hears about each pass and each share.

    Raises:
        DataError: There is too little data to choose by.
    """
    bench, samples = _with_search(bench)
    probes = list[Probe]()

    def fits(keep: float) -> bool:
        steps = default_prune(search.kind, keep)
        result = pipeline.run(exact.model, Recipe.parse(steps), bench.context, observer)
        probe = _probed(bench, result, budget, samples, keep)
        probes.append(probe)
        if observer is not None:
            observer.remark(str(probe))
        return probe.fits

    _bisect(shares(search.kind), fits)
    return probes


def to_confirm(search: PruneSearch, probes: Sequence[Probe]) -> list[str]:
    """The steps that held-out samples are to confirm one after the other, the gentlest first."""
    inside = [probe.keep for probe in probes if probe.fits and probe.pruned]
    if not inside:
        return []
    candidates = shares(search.kind)
    last = candidates.index(min(inside))
    places = sorted({last // 2, 3 * last // 4, last})
    return [default_prune(search.kind, candidates[at]) for at in places]


def _bisect(candidates: Sequence[float], fits: Callable[[float], bool]) -> None:
    """Ask about the middle of what is left, as if all before one that fits did, too."""
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        if fits(candidates[middle]):
            low = middle + 1
        else:
            high = middle


def _probed(
    bench: Workbench, result: PipelineResult, budget: Budget, samples: Dataset, keep: float
) -> Probe:
    found = compared_on(bench, result.model, samples, criteria_of(budget, bench.options.seed))
    unseen = 0 if bench.data is None else len(bench.data.test)
    error, loss = found.fidelity, None if found.metric is None else found.metric.loss
    inside = []
    if budget.error_limit is not None and error is not None:
        inside.append(_is_likely(error, budget.error_limit, _ERROR_SHARE, unseen))
    if budget.max_drop is not None and loss is not None:
        close = error is not None and error.mean <= _CLOSE_ERROR
        inside.append(_is_likely(loss, budget.max_drop, _LOSS_SHARE, unseen, is_close=close))
    return Probe(
        keep=keep,
        recipe=str(result.recipe),
        error=error.mean if error else None,
        loss=loss.mean if loss else None,
        fits=bool(inside) and all(inside),
        pruned=result.changed,
    )


def _is_likely(
    found: Interval, limit: float, share: float, unseen: int, *, is_close: bool = False
) -> bool:
    """Whether a mean leaves room, and its interval, as wide as on unseen data, is inside.

    Outputs that are close to the original's make up for samples too few to tell.
    """
    width = (found.high - found.mean) * math.sqrt(found.samples / max(unseen, 1))
    return found.mean <= share * limit and (is_close or found.mean + width <= limit)


def _with_search(bench: Workbench) -> tuple[Workbench, Dataset]:
    """The bench, and samples to choose by that nothing is fitted to.

    Raises:
        DataError: There are too few.
    """
    parts = bench.data
    if parts is None:
        raise DataError("there is no data to search with", todo="give some with --data")
    if len(parts.search) < MIN_SAMPLES:
        share = max(_SHARE, MIN_SAMPLES / max(len(parts.calibration), 1))
        share = min(share, _MOST_SHARE)
        cut = split(parts.calibration, bench.options.seed, (1 - share, share, 0.0))
        parts = replace(parts, calibration=cut.calibration, search=cut.search)
    if len(parts.search) < MIN_SAMPLES:
        raise DataError(
            f"{len(parts.search)} samples to search with",
            f"{MIN_SAMPLES} or more",
            "give more data, or a share with --keep",
        )
    context = replace(bench.context, calibration=parts.calibration, search=parts.search)
    samples = parts.search.take(range(min(len(parts.search), _MOST_SAMPLES)))
    return replace(bench, data=parts, context=context), samples
