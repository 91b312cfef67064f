"""From a source to a verified model: open, sample, convert, finish, check."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt.data import Feeds
from onnxopt.errors import UsageError
from onnxopt.exporting import finishing
from onnxopt.exporting.checking import Check, check
from onnxopt.exporting.opsets import settle
from onnxopt.exporting.options import ExportOptions
from onnxopt.exporting.recognizing import Given, open_source
from onnxopt.exporting.sampling import Sampled, resize, sample, sizes_of, whole
from onnxopt.exporting.source import Outputs, Plan, Source
from onnxopt.graph import opset
from onnxopt.signature import TensorSpec, signature_of
from onnxopt.targets import load_target

_STEPS = ("opening", "running", "converting", "checking")


@dataclass(frozen=True, eq=False)
class Export:
    """What was exported, or in a dry run would be.

    Attributes:
        model: The model; None in a dry run.
        source: What it was made from, without folders.
        framework: Who computed the expected outputs, with version.
        exporter: Who converted, with version.
        inputs: What the model takes; a name instead of a size is a dynamic dimension.
        outputs: What it gives.
        opset: Opset of the default domain.
        weights_sha256: Digest of the source's weights.
        samples: What was fed, one array an input.
        is_random: Whether the samples were made up.
        check: The evidence; None in a dry run.
        notes: What a person should know, a sentence each.
        seconds: How long it took.
    """

    model: ir.Model | None
    source: str
    framework: str
    exporter: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    weights_sha256: str
    samples: Feeds
    is_random: bool
    check: Check | None
    notes: tuple[str, ...]
    seconds: float

    @property
    def dynamic(self) -> tuple[str, ...]:
        """The labels of the dynamic dimensions, in order of first use."""
        dims = [dim for spec in self.inputs for dim in spec.shape or () if isinstance(dim, str)]
        return tuple(dict.fromkeys(dims))


@dataclass(frozen=True, eq=False)
class _Runs:
    """What the source computes, in one size and in another."""

    all: tuple[tuple[Feeds, Outputs], ...]
    example: Feeds
    outputs: tuple[TensorSpec, ...]


def export_model(given: Given, options: ExportOptions | None = None) -> Export:
    """Export a model of any framework and verify that both compute the same.

    Args:
        given: A path, ``module:factory``, or a model in memory.
        options: Everything else.

    Raises:
        MismatchError: The exported model computes something else; the message has the numbers.
        ModelError: The source cannot be read, run or converted.
        DataError: The sample does not fit.
        UsageError: The request is wrong.
        BackendMissingError: The framework is not installed.
    """
    options = options or ExportOptions()
    started = time.perf_counter()
    _tell(options, 0, "")
    source = open_source(given, options)
    _tell(options, 1, source.framework)
    sampled = sample(source, options)
    runs = _run(source, sampled, options)
    made = _planned(source, options) if options.dry_run else _make(source, sampled, runs, options)
    inputs, outputs, evidence = sampled.inputs, runs.outputs, None
    if made.model is not None:
        inputs, outputs = signature_of(made.model).inputs, signature_of(made.model).outputs
        _tell(options, 3, "")
        evidence = check(made.model, source.framework, runs.all, made.notes)
    _tell(options, 4, "")
    return Export(
        model=made.model,
        source=source.origin,
        framework=source.framework,
        exporter=made.exporter,
        inputs=inputs,
        outputs=outputs,
        opset=made.opset,
        weights_sha256=source.weights_sha256(),
        samples=whole(sampled.inputs, sampled.feeds),
        is_random=sampled.is_random,
        check=evidence,
        notes=made.notes,
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True, eq=False)
class _Made:
    """A conversion, or what is known of one that was not done."""

    model: ir.Model | None
    exporter: str
    opset: int
    notes: tuple[str, ...]


def _planned(source: Source, options: ExportOptions) -> _Made:
    return _Made(None, source.exporter, options.opset or source.opset, ())


def _make(source: Source, sampled: Sampled, runs: _Runs, options: ExportOptions) -> _Made:
    """Convert, name, bring to an opset, sign."""
    target = load_target(options.target)
    names = tuple(spec.name for spec in runs.outputs)
    plan = Plan(sampled.inputs, names, runs.example, options.opset)
    _tell(options, 2, source.exporter)
    converted = source.convert(plan)
    named = finishing.name_values(converted.model, plan)
    model, changes = settle(converted.model, options.opset, target)
    finishing.label_outputs(model, runs.outputs)
    facts = {
        "framework": source.framework,
        "exporter": converted.exporter,
        "weights_sha256": source.weights_sha256(),
    }
    finishing.sign(model, source.origin, facts)
    notes = (*converted.notes, *named, *changes)
    return _Made(model, converted.exporter, opset(model), notes)


def _tell(options: ExportOptions, step: int, what: str) -> None:
    word = _STEPS[min(step, len(_STEPS) - 1)]
    options.progress(f"{word} {what}".strip(), step, len(_STEPS))


def _run(source: Source, sampled: Sampled, options: ExportOptions) -> _Runs:
    """Run the source on every sample, and on the first one in other sizes."""
    base = [(feeds, source.run(feeds)) for feeds in sampled.feeds]
    named = [(feeds, _renamed(outputs, options.outputs)) for feeds, outputs in base]
    other = resize(source, sampled.inputs, sampled.feeds[0])
    first_feeds, first = named[0]
    sizes = sizes_of(sampled.inputs, first_feeds)
    if other is None:
        return _Runs(tuple(named), first_feeds, _observed(first, first, sizes, sizes))
    again = _renamed(other.outputs, options.outputs)
    runs = (*named, (other.feeds, again))
    example = first_feeds if min(sizes.values()) > 1 else other.feeds
    return _Runs(runs, example, _observed(first, again, sizes, other.sizes))


def _renamed(outputs: Outputs, names: Sequence[str]) -> Outputs:
    if not names:
        return outputs
    if len(names) != len(outputs) or len(set(names)) != len(names):
        raise UsageError(
            f"{len(names)} names for outputs {', '.join(outputs)}", "one of its own for each"
        )
    return dict(zip(names, outputs.values(), strict=True))


def _observed(
    first: Outputs, second: Outputs, before: Mapping[str, int], after: Mapping[str, int]
) -> tuple[TensorSpec, ...]:
    """What the outputs are; a dimension that changes as a label does follows that label."""
    pairs: dict[tuple[int, int], list[str]] = {}
    for label, size in before.items():
        pairs.setdefault((size, after[label]), []).append(label)
    return tuple(
        TensorSpec(name, _dtype(array), _dims(np.shape(array), np.shape(second[name]), pairs))
        for name, array in first.items()
    )


def _dims(
    one: tuple[int, ...], other: tuple[int, ...], pairs: Mapping[tuple[int, int], list[str]]
) -> tuple[int | str | None, ...] | None:
    if len(one) != len(other):
        return None
    dims: list[int | str | None] = []
    for pair in zip(one, other, strict=True):
        labels = pairs.get(pair, [])
        same = pair[0] == pair[1]
        dims.append(pair[0] if same else labels[0] if len(labels) == 1 else None)
    return tuple(dims)


def _dtype(array: Any) -> str:
    dtype = np.asarray(array).dtype
    return "string" if dtype.kind in "UO" else dtype.name
