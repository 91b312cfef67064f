"""What contestants lose: the task's metric and the distance of the outputs, sample by sample."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onnxopt.comparing import compare_outputs
from onnxopt.comparing.fidelity import worst_output
from onnxopt.data import Dataset, Sample
from onnxopt.errors import OnnxoptError
from onnxopt.metrics import Interval, Metric, Scores, change_of
from onnxopt.timing.candidates import jsonable
from peers import arrays
from peers.contest import Contestant
from peers.failure import PeerFailure
from peers.process import Worker

_GROUP = 8
_AT_ONCE = 2
_WAIT_S = 300.0


@dataclass(frozen=True)
class Judged:
    """What a contestant's outputs are worth.

    Attributes:
        samples: How many were run.
        relative_l2: Mean over samples of the worst output's error against the shipped model.
        worst_l2: Largest of the samples.
        metric: Name of the task's metric; empty without a task.
        higher_is_better: Which way is up.
        value: The metric.
        change: Against the shipped model, paired by sample; None without a task, or with too few
            samples for its metric.
    """

    samples: int
    relative_l2: float
    worst_l2: float
    metric: str = ""
    higher_is_better: bool = True
    value: float = float("nan")
    change: Interval | None = None

    def plain(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass
class _Record:
    """One contestant under way."""

    contestant: Contestant
    worker: Worker
    metric: Metric | None
    errors: list[float] = field(default_factory=list)
    failure: PeerFailure | None = None

    def __post_init__(self) -> None:
        self.scores = None if self.metric is None else Scores(self.metric)

    def open(self) -> None:
        session = jsonable(self.contestant.session) | {"spinning": False}
        path = str(self.contestant.path)
        with self._noted("does not load"):
            self.worker.ask("open_model", _WAIT_S, model=path, session=session)

    def run(self, feeds: Path, to: Path) -> list[dict[str, Any]]:
        """Outputs of a group of samples by position; nothing where it fails."""
        with self._noted():
            self.worker.ask("outputs", _WAIT_S, feeds=str(feeds), to=str(to))
            return arrays.load(to)
        return []

    def add(
        self, sample: Sample, expected: dict[str, Any], found: dict[str, Any], names: Sequence[str]
    ) -> None:
        before, after = (dict(zip(names, o.values(), strict=True)) for o in (expected, found))
        agreements = compare_outputs(before, after, None)
        bad = next((f"output {a.name} {a.reason}" for a in agreements if a.verdict == "differ"), "")
        if bad:
            self.failure = PeerFailure("wrong outputs", bad)
            return
        self.errors.append(worst_output(agreements) or 0.0)
        if self.scores is not None:
            with self._noted():
                where = f"sample {sample.item}"
                self.scores.add(after, sample.label, where, reference=before)

    @contextlib.contextmanager
    def _noted(self, kind: str = "exception") -> Iterator[None]:
        """Whatever goes wrong with one contestant is its result, not the others'."""
        try:
            yield
        except PeerFailure as failure:
            raised = failure.kind == "exception"
            self.failure = PeerFailure(kind if raised else failure.kind, failure.text)
        except Exception as error:  # noqa: BLE001 - metrics may choke on any kind of nonsense
            self.failure = PeerFailure("exception", f"{type(error).__name__}: {error}")


def judge(
    contestants: Sequence[Contestant], dataset: Dataset, metric: Metric | None, cache: Path
) -> dict[str, Judged | PeerFailure]:
    """Run all contestants over the data, side by side.

    Args:
        contestants: The first is the shipped model, which the others are measured against.
        dataset: With labels where there is a metric.
        metric: The task's.
        cache: Of the environments.

    Raises:
        PeerFailure: The first contestant fails.
    """
    names = _output_names(contestants[0])
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(_AT_ONCE) as pool:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        records = []
        for contestant in contestants:
            worker = stack.enter_context(contestant.start(cache))
            records.append(_Record(contestant, worker, metric))
        list(pool.map(_Record.open, records))
        for group in _groups(dataset):
            feeds = arrays.save(folder / "feeds.npz", [sample.feeds for sample in group])
            alive = [record for record in records if record.failure is None]
            targets = [folder / f"{number}.npz" for number in range(len(alive))]
            found = list(pool.map(lambda r, to, f=feeds: r.run(f, to), alive, targets))
            if records[0].failure is not None:
                raise records[0].failure
            for record, outputs in zip(alive, found, strict=True):
                for sample, expected, one in zip(group, found[0], outputs, strict=False):
                    record.add(sample, expected, one, names)
        return {r.contestant.name: _judged(records[0], r) for r in records}


def _judged(first: _Record, record: _Record) -> Judged | PeerFailure:
    if record.failure is not None:
        return record.failure
    errors = (float(np.mean(record.errors)), float(np.max(record.errors)))
    if first.scores is None or record.scores is None:
        return Judged(len(record.errors), *errors)
    scores = record.scores
    try:
        value, change = scores.value(), change_of(first.scores, scores, seed=0)
    except OnnxoptError:  # such as a ROC AUC of one class alone: too few samples
        return Judged(len(record.errors), *errors)
    return Judged(
        len(record.errors),
        *errors,
        metric=scores.metric.name,
        higher_is_better=scores.metric.higher_is_better,
        value=value,
        change=change,
    )


def _groups(dataset: Iterable[Sample]) -> Iterator[list[Sample]]:
    samples = iter(dataset)
    while group := list(itertools.islice(samples, _GROUP)):
        yield group


def _output_names(contestant: Contestant) -> list[str]:
    from onnxopt.signature import signature_of
    from onnxopt.store import load

    return [spec.name for spec in signature_of(load(contestant.path)).outputs]
