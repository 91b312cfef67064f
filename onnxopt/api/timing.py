"""The verbs ``benchmark`` and ``profile``: models timed side by side, or one model node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from onnxopt import store
from onnxopt.api.options import RunOptions
from onnxopt.api.stateful import check_state, spread, with_state
from onnxopt.api.workbench import open_data
from onnxopt.comparing import Filed, workable_inputs
from onnxopt.data import Dataset, Feeds, SizeChoices, Sizes, each_size, open_dimensions
from onnxopt.errors import UsageError
from onnxopt.fixed import fixed_inputs
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
    paths = [Path(model) for model in models]
    feeds = _feeds(paths, data, samples, config.batch, options)
    return time_candidates(paths, feeds, config, options.progress)


def benchmark_sizes(
    models: Sequence[Path | str],
    *,
    config: BenchmarkConfig | None = None,
    samples: int = _SAMPLES,
    options: RunOptions,
) -> list[tuple[Sizes, BenchmarkResult]]:
    """Time models at each of the sizes that ``options.dims`` lists, one after the other.

    Args:
        models: Files; ratios are over the first.
        config: As for ``benchmark``.
        samples: How many made-up inputs a pass runs.
        options: As for ``benchmark``.

    Raises:
        OnnxoptError: As for ``benchmark``.
    """
    return [
        (
            sizes,
            benchmark(models, config=config, samples=samples, options=replace(options, dims=sizes)),
        )
        for sizes in each_size(options.dims)
    ]


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
    feeds = _feeds([Path(model)], data, samples, batch, options)
    return profile_candidate(Path(model), feeds, config, options.progress)


def _feeds(
    models: Sequence[Path],
    data: str | Dataset | None,
    samples: int,
    batch: int,
    options: RunOptions,
) -> list[Feeds]:
    """Inputs that all models take: those of the most special one, and what it has built in."""
    loaded = [store.load(model) for model in models]
    counts = [(len(fixed_inputs(model)), -len(_open_names(model))) for model in loaded]
    at = counts.index(max(counts))
    special = loaded[at]
    fixed, left_open = fixed_inputs(special), _open_names(special)
    closed = set().union(*map(_open_names, loaded)) - left_open
    dims = {name: size for name, size in options.dims.items() if name not in closed}
    found = _feeds_for(
        Filed(special, models[at]), data, samples, batch, replace(options, dims=dims)
    )
    return [{**fixed, **feeds} for feeds in found]


def _open_names(model: ir.Model) -> set[str]:
    """What ``--dim`` may call the open dimensions of a model; none where a rank is unknown."""
    signature = signature_of(model)
    if any(spec.shape is None for spec in signature.inputs):
        return set()
    found = open_dimensions(signature)
    return {d.key for d in found} | {f"{name}:{axis}" for d in found for name, axis in d.places}


def _feeds_for(
    filed: Filed, data: str | Dataset | None, samples: int, batch: int, options: RunOptions
) -> list[Feeds]:
    signature = signature_of(filed.model)
    if data is None:
        check_state(options)
        dims: SizeChoices = options.dims
        if batch > 1:
            dims = batch_sizes(signature, batch, each_size(options.dims)[0])
        made = workable_inputs(filed, dims=dims, seed=options.seed, samples=samples)
        return [sample.feeds for sample in made]
    dataset = with_state(open_data(data, signature, options), filed.model, options)
    if batch == 1:
        return [sample.feeds for sample in spread(dataset, samples)]
    if options.reading.state:
        raise UsageError(f"a batch of {batch} steps", "1 with state: steps follow one another")
    wanted = (number % len(dataset) for number in range(samples * batch))
    return stacked(signature, [sample.feeds for sample in dataset.take(wanted)], batch)
