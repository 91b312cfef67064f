"""The verbs ``benchmark`` and ``profile``: models timed side by side, or one model node by node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxopt import store
from onnxopt.api.options import RunOptions
from onnxopt.api.workbench import open_data
from onnxopt.comparing import workable_inputs
from onnxopt.data import Dataset, Feeds
from onnxopt.errors import UsageError
from onnxopt.runtime import SessionConfig
from onnxopt.signature import signature_of
from onnxopt.timing import (
    BenchmarkConfig,
    BenchmarkResult,
    Profile,
    ProfileConfig,
    batch_sizes,
    stacked,
)
from onnxopt.timing import benchmark as time_candidates
from onnxopt.timing import profile as profile_candidate

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
        config: How long to measure, on which provider and with how many items a run.
        samples: How many inputs a pass runs.
        options: Threads (where no ``config`` is given), seed, sizes of made-up inputs.

    Raises:
        UsageError: There is no model, or no batch axis for ``config.batch``.
        OnnxoptError: A model, the data or the provider cannot be used.
    """
    if not models:
        raise UsageError("no model to time", "at least one")
    options = options or RunOptions()
    config = config or BenchmarkConfig(session=SessionConfig(threads=options.threads))
    feeds = _feeds(Path(models[0]), data, samples, config.batch, options)
    paths = [Path(model) for model in models]
    return time_candidates(paths, feeds, config, options.progress)


def profile(
    model: Path | str,
    *,
    data: str | Dataset | None = None,
    config: ProfileConfig | None = None,
    samples: int = _SAMPLES,
    batch: int = 1,
    options: RunOptions | None = None,
) -> Profile:
    """Find where the time of a run goes, by node, operator and kind.

    Args:
        model: A file.
        data: Samples to run; made up, in sizes the model takes, by default.
        config: How long to profile and on which provider.
        samples: How many inputs a pass runs.
        batch: Items in one run.
        options: Threads (where no ``config`` is given), seed, sizes of made-up inputs.

    Raises:
        UsageError: There is no batch axis for ``batch``.
        OnnxoptError: The model, the data or the provider cannot be used.
    """
    options = options or RunOptions()
    config = config or ProfileConfig(session=SessionConfig(threads=options.threads))
    feeds = _feeds(Path(model), data, samples, batch, options)
    return profile_candidate(Path(model), feeds, config, options.progress)


def _feeds(
    model: Path, data: str | Dataset | None, samples: int, batch: int, options: RunOptions
) -> list[Feeds]:
    signature = signature_of(store.load(model))
    if data is None:
        dims = options.dims if batch == 1 else batch_sizes(signature, batch, options.dims)
        made = workable_inputs(model, dims=dims, seed=options.seed, samples=samples)
        return [sample.feeds for sample in made]
    dataset = open_data(data, signature, options)
    if batch == 1:
        return [sample.feeds for sample in dataset.take(range(min(samples, len(dataset))))]
    wanted = (number % len(dataset) for number in range(samples * batch))
    return stacked(signature, [sample.feeds for sample in dataset.take(wanted)], batch)
