"""Scoring a model file on a task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxopt.data import Carried, DataOptions, State, open_dataset
from onnxopt.errors import OnnxoptError, UsageError
from onnxopt.metrics import Interval, Scores, metric
from onnxopt.progress import Progress, no_progress
from onnxopt.runtime import SessionConfig, SessionInfo, open_session
from onnxopt.signature import signature_of
from onnxopt.store import load
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.fetch import fetch
from onnxopt_models.tasks import Split, Task, find_task


@dataclass(frozen=True)
class TaskScore:
    """What a model got on a task.

    Attributes:
        task: The task's name.
        metric: What was measured, as ``--metric`` takes it.
        higher_is_better: Which way is up.
        score: Over the samples, with its 95 % interval.
        split: Which part of the source items they come from.
        seed: Of the samples and of the bootstrap.
        dataset: Fingerprint of the samples.
        run: How the model was run.
    """

    task: str
    metric: str
    higher_is_better: bool
    score: Interval
    split: Split
    seed: int
    dataset: str
    run: SessionInfo


@dataclass(frozen=True)
class SampleChoice:
    """Which samples of a task.

    Attributes:
        samples: How many.
        seed: Of the samples and of the bootstrap.
        split: Which part of the source items.
    """

    samples: int = 1000
    seed: int = 0
    split: Split = "test"


def score(
    task: Task | str,
    model: Path | None = None,
    *,
    choice: SampleChoice | None = None,
    cache_dir: Path | None = None,
    config: SessionConfig | None = None,
    progress: Progress = no_progress,
) -> TaskScore:
    """Run a model over a task's samples and score it.

    Args:
        task: The task or its name.
        model: The file; the catalog's model where None.
        choice: Which samples; 1000 of the test split by default.
        cache_dir: Where models and samples are kept; the default cache where None.
        config: How to run it; one thread of the CPU by default.
        progress: Told of each sample.

    Raises:
        UsageError: There is no such task, or it has no metric.
        DataError: The sources do not hold that many samples, or they do not fit the model.
        BackendMissingError: A package, the network or a provider is missing.
        ModelError: The file is no model, or fails on a sample.
    """
    asked = find_task(task) if isinstance(task, str) else task
    if not asked.metric:
        raise UsageError(f"the task {asked.name} has no metric", "one with labels")
    chosen, cache = choice or SampleChoice(), cache_dir or default_cache_dir()
    path = fetch(asked.model, cache, progress) if model is None else model
    folder = asked.build(
        cache, samples=chosen.samples, seed=chosen.seed, split=chosen.split, progress=progress
    )
    signature = signature_of(load(path))
    dataset = open_dataset(str(folder), signature, DataOptions(state=asked.state))
    carried = Carried(State(signature, asked.state)) if asked.state else Carried(None)
    scores = Scores(metric(asked.metric))
    with open_session(path, config or SessionConfig(threads=1, spinning=False)) as session:
        for done, sample in enumerate(dataset):
            progress(f"scoring {asked.name}", done, len(dataset))
            where = f"sample {sample.item}"
            try:
                outputs = session.run(carried.into(sample).feeds)
                carried.keep(outputs)
            except OnnxoptError as error:
                raise type(error)(f"{where}: {error.found}", error.wanted, error.todo) from error
            scores.add(outputs, sample.label, where, item=sample.item)
        progress(f"scoring {asked.name}", len(dataset), len(dataset))
        run = session.info
    return TaskScore(
        task=asked.name,
        metric=scores.metric.name,
        higher_is_better=scores.metric.higher_is_better,
        score=scores.interval(seed=chosen.seed),
        split=chosen.split,
        seed=chosen.seed,
        dataset=dataset.fingerprint,
        run=run,
    )
