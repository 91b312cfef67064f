"""The verb ``benchmark``: models timed side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnxopt import store
from onnxopt.api.options import RunOptions
from onnxopt.api.workbench import open_data
from onnxopt.comparing import workable_inputs
from onnxopt.data import Dataset, Feeds
from onnxopt.errors import UsageError
from onnxopt.signature import signature_of
from onnxopt.timing import BenchmarkConfig, BenchmarkResult
from onnxopt.timing import benchmark as time_candidates

_SAMPLES = 1


def benchmark(
    models: Sequence[Path | str],
    *,
    data: str | Dataset | None = None,
    config: BenchmarkConfig | None = None,
    samples: int = _SAMPLES,
    options: RunOptions | None = None,
) -> BenchmarkResult:
    """Time models, interleaved, each in a process of its own.

    Args:
        models: Files; ratios are over the first.
        data: Samples to run; made up, in sizes the first model takes, by default.
        config: How long to measure and on which provider.
        samples: How many samples a pass runs.
        options: Threads (unless ``config`` says them), seed, sizes of made-up inputs.

    Raises:
        UsageError: There is no model.
        OnnxoptError: A model, the data or the provider cannot be used.
    """
    if not models:
        raise UsageError("no model to time", "at least one")
    options = options or RunOptions()
    config = config or BenchmarkConfig()
    if config.session.threads != options.threads:
        config = replace(config, session=replace(config.session, threads=options.threads))
    feeds = _feeds(Path(models[0]), data, samples, options)
    paths = [Path(model) for model in models]
    return time_candidates(paths, feeds, config, options.progress)


def _feeds(
    model: Path, data: str | Dataset | None, samples: int, options: RunOptions
) -> list[Feeds]:
    if data is None:
        made = workable_inputs(model, dims=options.dims, seed=options.seed, samples=samples)
        return [sample.feeds for sample in made]
    dataset = open_data(data, signature_of(store.load(model)), options)
    return [sample.feeds for sample in dataset.take(range(min(samples, len(dataset))))]
