"""One streaming pass over the data: each sample runs alone, every tensor is counted, none kept.

Running each sample alone and counting in integers is what makes the result independent of order,
grouping, sharding and threads, bit for bit: ONNX Runtime's kernels are equal across threads but not
across batch sizes. The model runs fully optimised: a tensor that is a graph output is never fused
away, and the optimised kernels are the ones whose values the integer kernels will replace.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt.calibrate import storage
from onnxopt.calibrate.detail import EVERYTHING, Detail
from onnxopt.calibrate.observing import TensorObserver
from onnxopt.calibrate.spreading import spread
from onnxopt.calibrate.statistics import Statistics, merge
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
_GROUP_ELEMENTS = 1 << 25  # tensors kept at once while a sample runs: 128 MB of float32, twice
_TAPPED_ELEMENTS = 1 << 26  # nothing but sums is kept of them


def collect(
    model: ir.Model,
    tensors: Iterable[str],
    dataset: Dataset,
    *,
    what: Detail = EVERYTHING,
    threads: int = 1,
    workers: int = 1,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> Statistics:
    """Run every sample alone and count the values of the named tensors.

    Args:
        model: The model as it stands; it is not changed.
        tensors: Names of float tensors of the main graph. Others are in ``skipped`` of the result.
        dataset: The samples; memory does not grow with their number.
        what: How much to write down of each tensor. The tensors of ``what.channels`` are looked at
            too.
        threads: Threads inside one operator.
        workers: Samples that run at once, each with one thread inside its operators; where there is
            no memory for their tensors, threads inside the operators of one sample. More than one
            replaces ``threads``.
        cache: Folder of the cache, keyed by model, data and names; None caches nothing. What is
            there serves whoever asks for no more than it holds.
        progress: Told after each sample.

    Raises:
        DataError: There are no samples, or one does not fit the model.
        ModelError: The model does not run.
    """
    names = sorted({*tensors, *what.channels})
    path = None if cache is None else storage.path_for(cache, model, names, dataset)
    known = None if path is None else storage.read(path)
    if known is not None and known.covers(what):
        return known.narrowed(what)
    if len(dataset) == 0:
        raise DataError(f"{dataset.origin} holds no samples")
    whole = what if known is None else what.union(known.detail)
    taking = _Taking(dataset, whole, threads, workers, progress)
    statistics = taking.collect(model, plan_taps(model, names))
    if path is not None:
        storage.write(statistics, path)
    return statistics.narrowed(what)


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


def tapped_values(
    model: ir.Model, tensors: Iterable[str], dataset: Dataset, *, threads: int = 1
) -> Iterator[dict[str, Any]]:
    """The values of inner tensors on each sample, for sums that ``Statistics`` does not hold.

    Tensors come in groups that fit in memory, each group on every sample before the next; graph
    inputs come first. Tensors that cannot be had are left out.

    Raises:
        DataError: There are no samples, or the first one does not fit the model.
        ModelError: The model does not run.
    """
    plan = plan_taps(model, tensors)
    names = plan.computed
    sizes = tensor_sizes(model, names, dataset, threads=threads)
    groups = group_by_size(names, [sizes[name] for name in names], _TAPPED_ELEMENTS)
    for sample in dataset if plan.fed else ():
        yield {name: sample.feeds[name] for name in plan.fed}
    config = SessionConfig(threads=threads, spinning=False, planned_memory=False)
    for group in groups:
        with open_session(with_outputs(model, group), config) as session:
            for sample in dataset:
                yield session.run(sample.feeds)


@dataclass(frozen=True)
class _Taking:
    """One pass over the data."""

    dataset: Dataset
    what: Detail
    threads: int
    workers: int
    progress: Progress

    def collect(self, model: ir.Model, plan: TapPlan) -> Statistics:
        """Run the samples; statistics of what was found."""
        groups, at_once = self._groups(model, plan)
        threads = 1 if at_once > 1 else max(self.threads, self.workers)
        config = SessionConfig(threads=threads, planned_memory=False)
        records = [_Record(self.what) for _ in range(at_once)]
        samples = len(self.dataset)
        for number, group in enumerate(groups):
            held = tuple(name for name in plan.computed if name not in set(group))
            told = partial(self._tell, number * samples, samples * len(groups))
            with _session(model, group, held, config) as session:
                look = _Look(session, group, () if number else plan.fed)
                spread(self.dataset, records, look, told)
        return _total(records, samples, plan.skipped)

    def _tell(self, before: int, total: int, done: int) -> None:
        self.progress(_STEP, before + done, total)

    def _groups(self, model: ir.Model, plan: TapPlan) -> tuple[tuple[tuple[str, ...], ...], int]:
        """The computed tensors in groups that fit in memory, one run of all samples each; and how
        many samples may run at once.
        """
        names = plan.computed
        at_once = min(self.workers, len(self.dataset))
        if len(names) <= 1 and at_once <= 1:
            return (names,), 1
        sizes = tensor_sizes(model, names, self.dataset, threads=self.threads)
        elements = [sizes[name] for name in names]
        room = _GROUP_ELEMENTS // max(sum(elements), 1)
        groups = group_by_size(names, elements, _GROUP_ELEMENTS) or (names,)
        return groups, max(1, min(at_once, room))


@dataclass(frozen=True)
class _Look:
    """What to look at when a sample runs."""

    session: Session | None
    made: tuple[str, ...]
    fed: tuple[str, ...]

    def __call__(self, record: _Record, sample: Sample) -> None:
        # nothing keeps the arrays while the next sample runs
        record.observe(_values(self.session, sample, self.made, self.fed))


class _Record:
    """What one thread has seen."""

    def __init__(self, what: Detail) -> None:
        self._what = what
        self.observers: dict[str, TensorObserver] = {}
        self.skipped: dict[str, str] = {}

    def observe(self, found: MutableMapping[str, Any]) -> None:
        """Count the values of one sample, and let go of them."""
        for name in sorted(found):
            value = found.pop(name)
            if not isinstance(value, np.ndarray | np.generic) or not _is_float(value.dtype):
                self.skipped[name] = NOT_FLOAT
                continue
            if name not in self.observers:
                axis = self._what.channels.get(name)
                made = TensorObserver(histogram=self._what.histogram, axis=axis)
                self.observers[name] = made
            self.observers[name].add(np.asarray(value))


def _total(records: Sequence[_Record], samples: int, skipped: Mapping[str, str]) -> Statistics:
    """What all threads have seen together."""
    parts = [
        Statistics(
            0,
            {name: record.observers[name].build() for name in sorted(record.observers)},
            record.skipped,
        )
        for record in records
    ]
    found = functools.reduce(merge, parts)
    return Statistics(samples, found.tensors, dict(sorted({**skipped, **found.skipped}.items())))


def _session(
    model: ir.Model, names: tuple[str, ...], held: tuple[str, ...], config: SessionConfig
) -> AbstractContextManager[Session | None]:
    return open_session(with_outputs(model, names, held), config) if names else nullcontext()


def _values(
    session: Session | None, sample: Sample, names: Sequence[str], fed: Sequence[str]
) -> dict[str, Any]:
    made = {} if session is None else _run(session, sample, names)
    return {**made, **{name: sample.feeds.get(name) for name in fed}}


def _run(session: Session, sample: Sample, names: Sequence[str] | None = None) -> dict[str, Any]:
    try:
        return session.run(sample.feeds, names)
    except InvalidInputError as error:
        found = f"sample {sample.item}: {error.found}"
        raise type(error)(found, error.wanted, error.todo) from error


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"
