"""Original against result, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from onnxopt import pipeline
from onnxopt.api.reaching import obstacle
from onnxopt.api.stateful import spread
from onnxopt.api.workbench import Workbench
from onnxopt.comparing import CheckLimits, Equivalence, check_equivalence, first_difference
from onnxopt.data import (
    Dataset,
    Feeds,
    candidate_inputs,
    feedable_signature,
    unrolled_source,
)
from onnxopt.errors import BackendMissingError, MismatchError, OnnxoptError
from onnxopt.exactness import Exactness
from onnxopt.pipeline import PipelineResult

CPU = "cpu"
_SAMPLES = 8


def verify_result(bench: Workbench, source: ir.Model, result: PipelineResult) -> Equivalence:
    """Run a model and what a recipe made of it; in a child process, under limits.

    Args:
        bench: Supplies data (else inputs are made up), limits and context.
        source: What the recipe started from.
        result: What it made.

    Returns:
        The evidence.

    Raises:
        MismatchError: They differ by more than the recipe promises. The message names the first
            differing tensor and the pass that made it differ.
    """
    limits = CheckLimits(samples=_SAMPLES, timeout_s=bench.options.timeout_s)
    exactness = result.exactness
    provider = _provider(bench, exactness)

    reference = bench.filed(source)

    def check(model: ir.Model, data: Dataset | Iterable[Feeds] | None) -> Equivalence:
        return check_equivalence(
            reference, model, data, exactness, limits=limits, candidate_provider=provider
        )

    found = check(result.model, _samples(bench))
    if found.agrees:
        return found
    if found.failure and bench.target.provider not in (CPU, provider):
        _blame_provider(bench, exactness, found)
    data: Dataset | Iterable[Feeds] | None = _samples(bench)
    if found.culprit is not None:
        data = [found.culprit.feeds]

    def agrees(model: ir.Model) -> bool:
        return check(model, data).agrees

    guilty = pipeline.guilty_pass(source, result.executed, bench.context, agrees)
    blame = f"pass {guilty}" if guilty else "no single pass reproduces it"
    tensor = _first_tensor(source, result.model, found)
    place = f"; the first tensor that differs is {tensor!r}" if tensor else ""
    trouble = "cannot be compared" if found.failure else "differs from the original"
    raise MismatchError(
        f"the result {trouble}: {found}{place}",
        f"{exactness.value} agreement",
        f"guilty: {blame}; nothing was written, leave it out of the recipe",
    )


def _provider(bench: Workbench, exactness: Exactness) -> str:
    """Where the result runs: on the CPU, whose order of arithmetic is known, if it is to compute
    the same; on the target, where that can be had, if precision is given up for its kernels.
    """
    lossy = not exactness.is_exact and bench.target.provider != CPU
    return bench.target.provider if lossy and not obstacle(bench) else CPU


def _blame_provider(bench: Workbench, exactness: Exactness, found: Equivalence) -> None:
    """Say so where a result for another provider's kernels fails on the CPU's.

    Raises:
        BackendMissingError: The target's provider is not to be had, and precision was given up.
    """
    reason = "" if exactness.is_exact else obstacle(bench)
    if reason:
        raise BackendMissingError(
            f"the CPU provider does not run the result ({found.failure}), and {reason}",
            f"provider {bench.target.provider}, which it is made for",
        )


def _samples(bench: Workbench) -> Dataset | None:
    """Held-out samples; None makes inputs up, in sizes the model takes."""
    if bench.data is not None and len(bench.data.test):
        test = bench.data.test
        return test if unrolled_source(test) is None else spread(test, _SAMPLES)
    if bench.options.dims:
        dims, seed = bench.options.dims, bench.options.seed
        return candidate_inputs(feedable_signature(bench.specialized, dims), dims=dims, seed=seed)
    return None


def _first_tensor(source: ir.Model, result: ir.Model, found: Equivalence) -> str | None:
    if found.culprit is None:
        return None
    tolerance = found.tolerance or Exactness.ROUNDING.tolerance
    if tolerance is None:
        return None
    try:
        return first_difference(source, result, found.culprit.feeds, tolerance)
    except OnnxoptError:
        return None  # a closer look may fail where the check itself did not: the verdict stands
