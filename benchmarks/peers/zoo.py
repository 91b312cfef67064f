"""The zoo's models with what they are run on, and why some are left out."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnxopt.comparing import workable_inputs
from onnxopt.data import DataOptions, Dataset, State, open_dataset, unroll
from onnxopt.errors import OnnxoptError
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.signature import signature_of
from onnxopt.store import load
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.catalog import EmbeddedModel, Model, load_catalog
from onnxopt_models.fetch import fetch
from onnxopt_models.measure import SAMPLES
from onnxopt_models.tasks import Split, Task, find_task
from peers.ledger import hash_of

_SHARE = 10  # of the samples behind the zoo's own scores
_LEAST = 30
_MADE_UP = 16


@dataclass(frozen=True)
class Missing:
    """A model that cannot be measured here, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Subject:
    """A model that can.

    Attributes:
        name: Its id in the catalog.
        path: Its file.
        task: The task that judges it; None where it has none or its samples cannot be made.
        dims: Sizes for made-up inputs.
        note: Why there is no task.
    """

    name: str
    path: Path
    task: Task | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    note: str = ""

    @functools.cached_property
    def sha256(self) -> str:
        """Of the file."""
        return hash_of(self.path)

    def samples(self, count: int | None, split: Split = "test") -> Dataset:
        """Samples of its task, else made-up ones; steps in the state the shipped model left."""
        if self.task is None:
            return workable_inputs(self.path, dims=self.dims, samples=count or _MADE_UP)
        count = count or max(_LEAST, SAMPLES.get(self.task.name, 0) // _SHARE)
        folder = self.task.build(default_cache_dir(), samples=count, split=split)
        signature, pairs = signature_of(load(self.path)), self.task.state
        dataset = open_dataset(str(folder), signature, DataOptions(state=pairs))
        if not pairs:
            return dataset
        session = open_session(self.path, SessionConfig(spinning=False))
        return unroll(dataset, State(signature, pairs), session.run, self.sha256)


def subjects(names: Sequence[str]) -> Iterator[Subject | Missing]:
    """The catalog's models in its order, or those named."""
    catalog = load_catalog()
    for entry in catalog.models:
        if not names or entry.id in names:
            yield _subject(entry)


def _subject(entry: Model) -> Subject | Missing:
    try:
        path = fetch(entry.id)
    except OnnxoptError as error:
        return Missing(entry.id, str(error))
    dims = {} if isinstance(entry, EmbeddedModel) else entry.dims
    if not entry.task:
        return Subject(entry.id, path, None, dims, "no task: made-up inputs")
    try:
        task = find_task(entry.task)
        if not task.metric:
            return Subject(entry.id, path, None, dims, "its task has no metric: made-up inputs")
        task.build(default_cache_dir(), samples=1, split="test")
    except OnnxoptError as error:
        return Subject(entry.id, path, None, dims, f"made-up inputs: {error}")
    return Subject(entry.id, path, task, dims)
