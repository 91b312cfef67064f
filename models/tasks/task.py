"""What a task is: a model of the catalog, honest samples for it, and the metric that judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from onnxopt.errors import BackendMissingError, UsageError
from onnxopt.progress import Progress, no_progress

Split = Literal["all", "calibration", "search", "test"]
SPLITS: tuple[Split, ...] = ("all", "calibration", "search", "test")


@dataclass(frozen=True)
class Request:
    """Which samples are wanted.

    Attributes:
        samples: How many.
        seed: Equal requests with equal seeds give equal bytes.
        split: Which part of the source items to draw from; the parts share none, at any seed.
    """

    samples: int
    seed: int = 0
    split: Split = "all"


Builder = Callable[[Path, Request, Progress], Path]
"""Builds the requested samples below a cache folder and returns their folder."""


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: Its name.
        model: The catalog id of the model it feeds.
        metric: What judges the model, as ``--metric`` takes it; empty where the samples carry no
            labels and only feed.
        description: What the samples are, in a line.
        requires: Packages that the builder imports beyond onnxopt's own, with their extra.
        builder: Makes the samples.
        state: Per input of state the output that it becomes; samples are steps then, and each
            file of the folder is a sequence of them, one along axis 0.
    """

    name: str
    model: str
    metric: str
    description: str
    builder: Builder
    requires: tuple[tuple[str, str], ...] = ()
    state: Mapping[str, str] = field(default_factory=dict)

    def build(
        self,
        cache_dir: Path,
        *,
        samples: int = 1000,
        seed: int = 0,
        split: Split = "all",
        progress: Progress = no_progress,
    ) -> Path:
        """Make the samples, or find them made: a folder of ``.npz`` files and a ``task.json``.

        Each file is one sample: the model's inputs under their names, exactly as it takes them,
        and where the task has a metric the label as a string array of one entry, ``labels``.

        Raises:
            UsageError: No such split, or fewer than one sample.
            BackendMissingError: A package or the network is missing.
            DataError: The source does not hold that many samples.
        """
        if split not in SPLITS:
            raise UsageError(f"no split called {split!r}", wanted=f"one of {', '.join(SPLITS)}")
        if samples < 1:
            raise UsageError(f"{samples} samples", wanted="at least one")
        for package, extra in self.requires:
            if find_spec(package) is None:
                raise BackendMissingError(
                    f"the task {self.name} needs the package {package}",
                    todo=f"pip install onnxopt[{extra}]",
                )
        return self.builder(cache_dir, Request(samples, seed, split), progress)
