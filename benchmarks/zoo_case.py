"""A model of the zoo on its task: rewritten exactly, changed by recipes, judged and timed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from onnxopt import api, pipeline, store
from onnxopt.api import RunOptions
from onnxopt.api.workbench import Workbench
from onnxopt.comparing import Comparison
from onnxopt.recipe import Recipe
from onnxopt.timing import BenchmarkConfig, BenchmarkResult
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.fetch import fetch
from onnxopt_models.tasks import find_task

Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Case:
    """A model of the zoo, exactly rewritten, with its data.

    Attributes:
        name: Of the model and its task.
        bench: The model as shipped and the samples to learn from.
        exact: The exactly rewritten model.
        test: Samples to judge by.
        folder: Where files go.
    """

    name: str
    bench: Workbench
    exact: pipeline.PipelineResult
    test: str
    folder: Path

    @classmethod
    def of(cls, name: str, counts: tuple[int, int], folder: Path, threads: int = 1) -> Case:
        """Fetch, build so many samples to learn from and to judge by, rewrite."""
        task, cache = find_task(name), default_cache_dir()
        learn = str(task.build(cache, samples=counts[0], split="calibration"))
        test = str(task.build(cache, samples=counts[1], split="test"))
        source, options = fetch(task.model), RunOptions(threads=threads)
        bench = Workbench.open(source, api.held_out(source, learn, test, options), options)
        exact = pipeline.run(bench.model, bench.exact, bench.context)
        return cls(name, bench, exact, test, folder)

    def changed(self, recipe: str, label: str) -> Path:
        """The file that a recipe and then the target's float spellings make."""
        started = time.monotonic()
        made = pipeline.run(self.exact.model, Recipe.parse(recipe), self.bench.context).model
        path = self.finished(made, label)
        say(f"{self.name}: {recipe}: {time.monotonic() - started:.0f} s")
        return path

    def finished(self, model: Any, label: str) -> Path:
        """A model spelled for the target's float kernels, written."""
        tail = Recipe.parse(self.bench.target.float_recipe)
        path = self.folder / f"{self.name}-{label}.onnx"
        store.save(pipeline.run(model, tail, self.bench.context).model, path)
        return path

    def judged(self, path: Path) -> Comparison:
        """Against the original, on the task."""
        metric = find_task(self.name).metric
        return api.compare(
            self.bench.model, path, data=self.test, metric=metric, options=self.bench.options
        )

    def timed(self, paths: Sequence[Path], rounds: int) -> BenchmarkResult:
        """Files side by side on one thread."""
        config = BenchmarkConfig(rounds=rounds)
        return api.benchmark(paths, data=self.test, config=config, samples=1)


def say(text: str) -> None:
    """Tell how far it is, on standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def surviving(
    names: Sequence[str], work: Callable[[str], Made], failures: dict[str, str]
) -> Iterator[tuple[str, Made]]:
    """What some work gives, name by name; where it fails, why is written down and others go on."""
    for name in names:
        started = time.monotonic()
        say(f"{name} …")
        try:
            done = work(name)
        except Exception as error:  # noqa: BLE001 - whatever it is, hours of others are not lost
            failures[name] = f"{type(error).__name__}: {error}"
            say(f"{name} failed: {failures[name]}")
            continue
        say(f"{name}: {(time.monotonic() - started) / 60:.1f} minutes")
        yield name, done
