"""Budgets applied to comparisons."""

from __future__ import annotations

from onnxopt.api.options import Budget
from onnxopt.comparing import Comparison, Criteria
from onnxopt.metrics import Verdict, judge, metric
from onnxopt.transform import Goal


def criteria_of(budget: Budget, seed: int) -> Criteria:
    """What a comparison must measure to judge a budget."""
    if budget.metric is None:
        return Criteria(limit=budget.error_limit, seed=seed)
    return Criteria(metric=metric(budget.metric), limit=budget.max_drop, seed=seed)


def goal_of(budget: Budget, samples: int | None = None) -> Goal:
    """What lossy passes are to work towards, for a verdict on so many samples."""
    if budget.metric is None or budget.max_drop is None:
        return Goal(max_error=budget.error_limit, samples=samples)
    return Goal(metric(budget.metric), budget.max_drop, budget.error_limit, samples)


def verdicts(comparison: Comparison, budget: Budget) -> list[tuple[str, Verdict]]:
    """Each stated limit with its verdict; empty where nothing was stated."""
    found = []
    if budget.max_drop is not None and comparison.metric is not None:
        found.append((comparison.metric.name, judge(comparison.metric.loss, budget.max_drop)))
    if budget.error_limit is not None and comparison.fidelity is not None:
        found.append(("relative L2 error", judge(comparison.fidelity, budget.error_limit)))
    return found


def allows(comparison: Comparison, budget: Budget) -> tuple[bool, str]:
    """Whether a comparison is inside every stated limit, and the reason in a sentence."""
    judged = verdicts(comparison, budget)
    if not judged:
        return True, "no budget was stated"
    fits = all(_fits(verdict, budget) for _, verdict in judged)
    return fits, "; ".join(f"{what} {verdict}" for what, verdict in judged)


def _fits(verdict: Verdict, budget: Budget) -> bool:
    if verdict.status == "undecided":
        return budget.accept_undecided and verdict.is_likely_inside
    return verdict.status == "inside"
