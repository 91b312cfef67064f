"""What an adapter of a framework offers, and what passes between it and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy.typing as npt
import onnx_ir as ir

from onnxopt.data import Feeds
from onnxopt.signature import TensorSpec

Outputs = Mapping[str, npt.NDArray[Any]]
"""Output name to array, in order."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What a conversion has to give.

    Attributes:
        inputs: Names, types and sizes of the inputs; a name instead of a size is a dynamic one.
        outputs: Names of the outputs.
        example: Feeds to trace with; every dynamic dimension has at least two entries there.
        opset: The opset asked for; None for whatever the exporter knows best.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    example: Feeds
    opset: int | None

    def dynamic_axes(self, spec: TensorSpec) -> dict[int, str]:
        """The dynamic axes of an input with their labels."""
        return {axis: dim for axis, dim in enumerate(spec.shape or ()) if isinstance(dim, str)}


@dataclass(frozen=True, eq=False)
class Converted:
    """What a conversion gave.

    Attributes:
        model: The model as the exporter made it.
        exporter: Exporter and version.
        notes: What a person should know, a sentence each.
    """

    model: ir.Model
    exporter: str
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """An opened model of some framework."""

    @property
    def origin(self) -> str:
        """What it was opened from, without folders."""
        ...

    @property
    def framework(self) -> str:
        """Name and version of what runs it."""
        ...

    @property
    def exporter(self) -> str:
        """What would convert it: name and version."""
        ...

    @property
    def opset(self) -> int:
        """The opset that the exporter knows best."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...] | None:
        """What it takes; None where only a sample can tell."""
        ...

    @property
    def ranges(self) -> Mapping[str, tuple[int, int]]:
        """For made-up integers, lowest value and the one above the highest, by input."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """For made-up samples, sizes of dynamic dimensions by label."""
        ...

    @property
    def example(self) -> Feeds | None:
        """A sample that came with the model."""
        ...

    @property
    def tokenizer(self) -> Path | None:
        """Its ``tokenizer.json``, for samples of text."""
        ...

    def weights_sha256(self) -> str:
        """Digest of the weights."""
        ...

    def run(self, feeds: Feeds) -> Outputs:
        """What the framework itself computes.

        Raises:
            ModelError: It cannot.
        """
        ...

    def convert(self, plan: Plan) -> Converted:
        """The model as ONNX.

        Raises:
            ModelError: The exporter cannot take it.
        """
        ...


class SelfContained:
    """What holds for most sources: no sample, no special sizes, no text."""

    ranges: ClassVar[Mapping[str, tuple[int, int]]] = MappingProxyType({})
    sizes: ClassVar[Mapping[str, int]] = MappingProxyType({})
    example: ClassVar[Feeds | None] = None
    tokenizer: ClassVar[Path | None] = None
