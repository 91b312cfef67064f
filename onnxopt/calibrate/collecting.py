"""One streaming pass over the data: each sample runs alone, every tensor is counted, none kept.

Running each sample alone and counting in integers is what makes the result independent of order,
grouping, sharding and threads, bit for bit: ONNX Runtime's kernels are equal across threads but not
across batch sizes. The model runs fully optimised: a tensor that is a graph output is never fused
away, and the optimised kernels are the ones whose values the integer kernels will replace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt.calibrate import storage
from onnxopt.calibrate.statistics import Statistics, TensorObserver
from onnxopt.calibrate.tapping import (
    NOT_FLOAT,
    TapPlan,
    declared_sizes,
    group_by_size,
    plan_taps,
    with_outputs,
    with_sizes,
)
from onnxopt.data import Dataset, Sample
from onnxopt.errors import DataError, InvalidInputError
from onnxopt.progress import Progress, no_progress
from onnxopt.runtime import Session, SessionConfig, open_session

_STEP = "calibrate"
_GROUP_ELEMENTS = 1 << 26  # tensors kept at once while a sample runs: 256 MB of float32


def collect(
    model: ir.Model,
    tensors: Iterable[str],
    dataset: Dataset,
    *,
    threads: int = 1,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> Statistics:
    """Run every sample alone and count the values of the named tensors.

    Args:
        model: The model as it stands; it is not changed.
        tensors: Names of float tensors of the main graph. Others are in ``skipped`` of the result.
        dataset: The samples; memory does not grow with their number.
        threads: Threads inside one operator.
        cache: Folder of the cache, keyed by model, data and names; None caches nothing.
        progress: Told after each sample.

    Raises:
        DataError: There are no samples, or one does not fit the model.
        ModelError: The model does not run.
    """
    names = sorted(set(tensors))
    path = None if cache is None else storage.path_for(cache, model, names, dataset)
    known = None if path is None else storage.read(path)
    if known is not None:
        return known
    if len(dataset) == 0:
        raise DataError(f"{dataset.origin} holds no samples")
    statistics = _collect(model, plan_taps(model, names), dataset, threads, progress)
    if path is not None:
        storage.write(statistics, path)
    return statistics


def tensor_sizes(
    model: ir.Model, tensors: Iterable[str], dataset: Dataset, *, threads: int = 1
) -> dict[str, int]:
    """The number of elements of inner tensors on the first sample; names it has not are left out.

    One run that keeps no tensor but its size.

    Raises:
        DataError: There are no samples, or the first one does not fit the model.
    """
    plan = plan_taps(model, tensors)
    sample = next(iter(dataset), None)
    if sample is None:
        raise DataError(f"{dataset.origin} holds no samples")
    sizes = {name: int(np.size(sample.feeds[name])) for name in plan.fed if name in sample.feeds}
    declared = declared_sizes(model, plan.computed)
    if declared is None:
        config = SessionConfig(threads=threads)
        with open_session(with_sizes(model, plan.computed), config) as session:
            declared = tuple(int(size) for size in _run(session, sample).values())
    return {**sizes, **dict(zip(plan.computed, declared, strict=True))}


def _collect(
    model: ir.Model, plan: TapPlan, dataset: Dataset, threads: int, progress: Progress
) -> Statistics:
    config = SessionConfig(threads=threads)
    groups = _groups(model, plan, dataset, threads)
    observers: dict[str, TensorObserver] = {}
    skipped = dict(plan.skipped)
    total = len(dataset) * len(groups)
    for number, group in enumerate(groups):
        with _session(model, group, config) as session:
            for done, sample in enumerate(dataset, number * len(dataset) + 1):
                found = _run(session, sample)
                if number == 0:
                    found.update((name, sample.feeds.get(name)) for name in plan.fed)
                _observe(found, observers, skipped)
                progress(_STEP, done, total)
    built = {name: observers[name].build() for name in sorted(observers)}
    return Statistics(len(dataset), built, dict(sorted(skipped.items())))


def _groups(
    model: ir.Model, plan: TapPlan, dataset: Dataset, threads: int
) -> tuple[tuple[str, ...], ...]:
    """The computed tensors in groups that fit in memory; one run of all samples each."""
    names = plan.computed
    if len(names) <= 1:
        return (names,)
    sizes = tensor_sizes(model, names, dataset, threads=threads)
    return group_by_size(names, [sizes[name] for name in names], _GROUP_ELEMENTS)


def _session(
    model: ir.Model, names: tuple[str, ...], config: SessionConfig
) -> AbstractContextManager[Session | None]:
    return open_session(with_outputs(model, names), config) if names else nullcontext()


def _run(session: Session | None, sample: Sample) -> dict[str, Any]:
    try:
        return {} if session is None else session.run(sample.feeds)
    except InvalidInputError as error:
        found = f"sample {sample.item}: {error.found}"
        raise type(error)(found, error.wanted, error.todo) from error


def _observe(
    found: Mapping[str, Any],
    observers: MutableMapping[str, TensorObserver],
    skipped: MutableMapping[str, str],
) -> None:
    for name, value in found.items():
        if not isinstance(value, np.ndarray | np.generic) or not _is_float(value.dtype):
            skipped[name] = NOT_FLOAT
            continue
        if name not in observers:
            observers[name] = TensorObserver()
        observers[name].add(np.asarray(value))


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"
