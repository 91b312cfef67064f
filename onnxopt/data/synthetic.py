"""Makes up inputs from a signature, for checks that need some input and no meaning."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.data.dataset import Feeds, Sample, SourceDataset, digest
from onnxopt.data.sizes import (
    SizeChoices,
    Sizes,
    dimension_key,
    each_size,
    size_plans,
)
from onnxopt.errors import DataError, LimitError
from onnxopt.signature import Signature, TensorSpec
from onnxopt.spans import Span

SAMPLES = 4
_ENOUGH_PLANS = 2
_MAX_ELEMENTS = 1 << 28
_MODERATE_ELEMENTS = 1 << 24
_WORDS = np.array(["alpha", "beta", "gamma delta", "x1", ""])
_PIXEL_RANK = 3


@dataclass(frozen=True, eq=False)
class SyntheticSource:
    """Random inputs; sample ``i`` depends on seed and ``i`` alone and has sizes ``i mod plans``.

    Floats are standard normal, integers below 2 (so that they are valid indices and masks), those
    of 8 bits what the model's nodes say, else all values in images of uint8, strings are a few
    short words.

    Attributes:
        variety: How many sizes of a dimension are enough to try.
    """

    signature: Signature
    plans: tuple[Sizes, ...]
    seed: int
    samples: int
    ranges: Mapping[str, Span] = field(default_factory=dict)
    variety: int = _ENOUGH_PLANS
    origin: str = "random"
    notes: tuple[str, ...] = ("inputs are random: outputs say nothing about accuracy",)
    is_random: bool = True

    @cached_property
    def items(self) -> Sequence[str]:
        """Each sample is its own item."""
        return tuple(map(str, range(self.samples)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over signature, sizes, ranges, seed and number."""
        plans = [sorted(plan.items()) for plan in self.plans]
        inputs = [str(spec) for spec in self.signature.inputs]
        limits = sorted(self._limits.items())
        return digest("random", inputs, plans, limits, self.seed, self.samples)

    @property
    def _limits(self) -> Mapping[str, Span]:
        """The values of integer inputs, as asked or as the model's nodes say."""
        return {**self.signature.spans, **self.ranges}

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        for index in range(self.samples) if indices is None else indices:
            yield Sample(self._feeds(index), None, str(index))

    def _feeds(self, index: int) -> Feeds:
        generator = np.random.default_rng([self.seed, index])
        sizes = self.plans[index % len(self.plans)]
        return {spec.name: self._array(spec, sizes, generator) for spec in self.signature.inputs}

    def _array(
        self, spec: TensorSpec, sizes: Sizes, generator: np.random.Generator
    ) -> npt.NDArray[Any]:
        if not spec.dtype or spec.shape is None:
            raise DataError(f"input {spec} cannot be made up", todo="give samples with --data")
        shape = _shape(spec, sizes)
        if math.prod(shape) > _MAX_ELEMENTS:
            raise LimitError(f"input {spec} would have shape {shape}", todo="give --dim or --data")
        if spec.dtype == "string":
            return np.asarray(generator.choice(_WORDS, size=shape))
        return _numbers(np.dtype(spec.dtype), shape, generator, self._limits.get(spec.name))


def synthesize(
    signature: Signature,
    *,
    dims: SizeChoices | None = None,
    seed: int = 0,
    samples: int = SAMPLES,
    ranges: Mapping[str, Span] | None = None,
) -> SourceDataset:
    """Random inputs for a model, alternating between two sizes of each open dimension.

    Args:
        signature: Of the model.
        dims: Sizes by symbolic name or ``input:axis``; these do not vary.
        seed: Of the generator.
        samples: How many.
        ranges: For integer inputs, lowest value and the one above the highest.

    Raises:
        DataError: An input has no known rank or type, or is no tensor.
        UsageError: ``dims`` names no open dimension.
    """
    variety = _variety(dims)
    plans = size_plans(signature, dims or {})[:variety]
    source = SyntheticSource(signature, plans, seed, samples, dict(ranges or {}), variety)
    return SourceDataset(source)


def candidate_inputs(
    signature: Signature, *, dims: SizeChoices | None = None, seed: int = 0
) -> SourceDataset:
    """One sample for each plan of sizes worth trying, most promising first, and at least two.

    For whoever runs the original model anyway and leaves out the samples that it rejects.

    Raises:
        DataError: An input has no known rank or type, or is no tensor.
        UsageError: ``dims`` names no open dimension.
    """
    variety = _variety(dims)
    plans = _affordable(signature, size_plans(signature, dims or {}), variety)
    count = max(len(plans), _ENOUGH_PLANS)
    return SourceDataset(SyntheticSource(signature, plans, seed, count, {}, variety))


def variety_of(data: object) -> int:
    """How many sizes of a dimension are enough to try with such inputs."""
    return int(getattr(getattr(data, "source", None), "variety", _ENOUGH_PLANS))


def in_sizes_of(
    candidates: SourceDataset, accepted: Sequence[int], samples: int = SAMPLES
) -> SourceDataset:
    """Random inputs that take turns in the sizes of those candidates that a model accepted.

    Args:
        candidates: Of ``candidate_inputs``.
        accepted: Which of them, in order; at least one.
        samples: How many.
    """
    source = candidates.source
    if not isinstance(source, SyntheticSource):
        raise TypeError("candidates are made-up inputs")
    plans = tuple(dict.fromkeys(number % len(source.plans) for number in accepted))
    chosen = tuple(source.plans[number] for number in plans)
    return SourceDataset(replace(source, plans=chosen, samples=samples))


def _variety(dims: SizeChoices | None) -> int:
    """How many sizes to try: two, or as many as the user listed."""
    return max(_ENOUGH_PLANS, len(each_size(dims or {})))


def _affordable(signature: Signature, plans: tuple[Sizes, ...], variety: int) -> tuple[Sizes, ...]:
    """The first plans as they are, of the fallbacks those of moderate size."""
    fallbacks = (p for p in plans[variety:] if _most_elements(signature, p) <= _MODERATE_ELEMENTS)
    return (*plans[:variety], *fallbacks)


def _most_elements(signature: Signature, sizes: Sizes) -> int:
    """Of the largest input."""
    shapes = (_shape(spec, sizes) for spec in signature.inputs if spec.shape is not None)
    return max((math.prod(shape) for shape in shapes), default=0)


def _shape(spec: TensorSpec, sizes: Sizes) -> tuple[int, ...]:
    return tuple(
        dim if isinstance(dim, int) else sizes[dimension_key(spec, axis)]
        for axis, dim in enumerate(spec.shape or ())
    )


def _numbers(
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    generator: np.random.Generator,
    limits: Span | None,
) -> npt.NDArray[Any]:
    if limits is None and dtype.kind in "fcV" and not _is_small_integer(dtype):
        return generator.standard_normal(shape, dtype=np.float32).astype(dtype)
    pixels = dtype == np.uint8 and len(shape) >= _PIXEL_RANK
    low, high = limits or ((0, 256) if pixels else (0, 2))
    return generator.integers(low, high, shape).astype(dtype)


def _is_small_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.name.startswith(("int", "uint"))
