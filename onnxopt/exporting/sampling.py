"""What is fed: the user's sample, the source's own, or made up; in two sizes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxopt.data import DataOptions, Feeds, open_dataset, size_plans, synthesize
from onnxopt.data.check import check_feeds
from onnxopt.data.function import import_function
from onnxopt.errors import DataError, ModelError, OnnxoptError, UsageError
from onnxopt.exporting.dimensions import parse_input, with_dynamic
from onnxopt.exporting.importing import is_factory
from onnxopt.exporting.options import ExportOptions
from onnxopt.exporting.source import Outputs, Source
from onnxopt.signature import Signature, TensorSpec

SAMPLES = 4
"""The most samples that are run."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """What is known once there is something to feed.

    Attributes:
        inputs: What the model takes; a name instead of a size is a dynamic dimension.
        feeds: Samples as they were given.
        is_random: Whether they were made up.
    """

    inputs: tuple[TensorSpec, ...]
    feeds: tuple[Feeds, ...]
    is_random: bool


def sample(source: Source, options: ExportOptions) -> Sampled:
    """Find out what a source takes, and something to feed it.

    Raises:
        UsageError: Nothing says what it takes.
        DataError: The sample does not fit.
    """
    raw = source.example
    stated = tuple(map(parse_input, options.inputs)) or source.inputs
    if stated is None and raw is None and options.sample is not None:
        raw = _first(options.sample)
    if stated is None:
        stated = _specs_of(raw)
    inputs = with_dynamic(stated, options.dynamic)
    if raw is not None and (options.sample is None or source.example is None):
        checked = check_feeds(raw, Signature(inputs, ()), options.sample or "the sample")
        return Sampled(inputs, (checked,), is_random=False)
    return Sampled(inputs, _read(source, inputs, options), is_random=options.sample is None)


def _specs_of(raw: Feeds | None) -> tuple[TensorSpec, ...]:
    if raw is None:
        raise UsageError(
            "nothing says what the model takes",
            "--input NAME=float32[N,3,224,224] for each input, or --sample with an array for each",
        )
    return tuple(
        TensorSpec(name, "string" if a.dtype.kind in "UO" else a.dtype.name, a.shape)
        for name, a in raw.items()
    )


def _first(spec: str) -> Feeds:
    """The first sample of a spec, read without knowing what the model takes.

    Raises:
        UsageError: The spec needs to know it.
        DataError: It cannot be read.
    """
    if Path(spec).suffix == ".npz" and Path(spec).is_file():
        return _arrays(Path(spec))
    if is_factory(spec):
        found = import_function(spec)()
        first = found if isinstance(found, Mapping) else next(iter(found), None)
        feeds = getattr(first, "feeds", first[0] if isinstance(first, tuple) else first)
        if isinstance(feeds, Mapping):
            return {name: np.asarray(value) for name, value in feeds.items()}
        raise DataError(f"{spec} gives a {type(feeds).__name__}", "a dict of arrays by input")
    if not Path(spec).exists() and spec != "random":
        raise DataError(f"no sample {spec}")
    raise UsageError(
        f"sample {spec} without a word on what the model takes",
        "--input NAME=float32[N,3,224,224] for each input",
    )


def _arrays(path: Path) -> Feeds:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, Any] = dict(archive.items())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}", "an .npz file of plain arrays") from error
    arrays.pop(DataOptions.labels, None)
    if not arrays:
        raise DataError(f"{path} holds no arrays", "one for each input, under its name")
    return arrays


def _read(
    source: Source, inputs: tuple[TensorSpec, ...], options: ExportOptions
) -> tuple[Feeds, ...]:
    """A few samples by the rules that all data is read by."""
    signature = Signature(inputs, ())
    if options.sample in (None, "random"):
        return _made_up(source, signature, options.seed)
    reading = DataOptions(seed=options.seed, tokenizer=source.tokenizer)
    data = open_dataset(str(options.sample), signature, reading)
    feeds = [one.feeds for one in itertools.islice(data, SAMPLES)]
    if not feeds:
        raise DataError(f"sample {options.sample} is empty")
    return tuple(feeds)


def _made_up(source: Source, signature: Signature, seed: int) -> tuple[Feeds, ...]:
    """Two samples of the first sizes that the source runs with."""
    labels = {dim for spec in signature.inputs for dim in spec.shape or () if isinstance(dim, str)}
    known = {label: size for label, size in source.sizes.items() if label in labels}
    complaint: OnnxoptError | None = None
    for plan in size_plans(signature, known):
        made = synthesize(signature, dims=plan, seed=seed, samples=2, ranges=source.ranges)
        feeds = tuple(one.feeds for one in made)
        try:
            source.run(feeds[0])
        except ModelError as error:
            complaint = complaint or error
        else:
            return feeds
    raise ModelError(
        f"the model runs on no made-up sample: {complaint}", todo="give one with --sample"
    )


def sizes_of(inputs: Sequence[TensorSpec], feeds: Feeds) -> dict[str, int]:
    """The size that each dynamic dimension has in a sample.

    Raises:
        DataError: Two inputs disagree about one.
    """
    sizes: dict[str, int] = {}
    for spec in inputs:
        for dim, size in zip(spec.shape or (), np.shape(feeds[spec.name]), strict=False):
            if isinstance(dim, str) and sizes.setdefault(dim, size) != size:
                raise DataError(
                    f"the sample has {size} and {sizes[dim]} for dimension {dim}", "one size"
                )
    return sizes


@dataclass(frozen=True, eq=False)
class Resized:
    """A sample in other sizes, with what the source makes of it."""

    sizes: Mapping[str, int]
    feeds: Feeds
    outputs: Outputs


def resize(source: Source, inputs: tuple[TensorSpec, ...], feeds: Feeds) -> Resized | None:
    """The sample with every dynamic dimension in a second size; None where there is none.

    Raises:
        ModelError: The source itself runs in no other size.
    """
    sizes = sizes_of(inputs, feeds)
    if not sizes:
        return None
    complaint: OnnxoptError | None = None
    for other in _other_sizes(sizes):
        if other == sizes:
            continue
        grown = {spec.name: _resized(feeds[spec.name], spec, other) for spec in inputs}
        try:
            return Resized(other, grown, source.run(grown))
        except OnnxoptError as error:
            complaint = complaint or error
    shown = ", ".join(f"{label}={size}" for label, size in sizes.items())
    raise DataError(
        f"{source.framework} runs the model with {shown} and in no other size: {complaint}",
        "dimensions that the model itself leaves open",
        "leave it out of --dynamic, or give a sample whose sizes have room",
    )


def _other_sizes(sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
    def sums(single: dict[str, int]) -> dict[str, int]:
        known = {label: single[label] for label in sizes if "+" not in label}
        parts = {label: label.split("+") for label in sizes if "+" in label}
        return {**known, **{k: sum(known.get(p, 0) for p in v) for k, v in parts.items()}}

    yield sums({label: 2 * size for label, size in sizes.items()})
    yield sums({label: size + 1 for label, size in sizes.items()})
    yield sums({label: max(1, size // 2) for label, size in sizes.items()})


def _resized(array: Any, spec: TensorSpec, sizes: Mapping[str, int]) -> Any:
    for axis, dim in enumerate(spec.shape or ()):
        if isinstance(dim, str):
            array = np.take(array, np.arange(sizes[dim]) % array.shape[axis], axis)
    return array


def whole(inputs: Sequence[TensorSpec], feeds: Sequence[Feeds]) -> Feeds:
    """Samples as one array an input, cut along axis 0 when read again."""
    first = feeds[0]
    alike = [
        one
        for one in feeds
        if all(one[s.name].shape[1:] == first[s.name].shape[1:] for s in inputs)
    ]
    return {
        spec.name: np.concatenate([one[spec.name] for one in alike])
        if np.ndim(first[spec.name])
        else first[spec.name]
        for spec in inputs
    }
