"""Everything that may be said about data besides where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnxopt.data.sizes import SizeChoices
from onnxopt.errors import UsageError

LABELS = "labels"


@dataclass(frozen=True)
class DataOptions:
    """How data is opened. Each reader uses what concerns it.

    Attributes:
        labels: Name of the labels: the array in ``.npz`` files, ``NAME.npy``, ``NAME.csv`` beside
            images, the column of a table.
        items: Column of a table, or array beside the inputs, that names the source item of each
            sample; None where each sample is its own (with ``state``, each file).
        state: Per input of state the output that it becomes; samples are steps then, and those of
            one item in a row are a sequence.
        batch_axes: Per input, the axis along which its samples lie where it is not 0.
        batch: Samples a call, along an axis that the model leaves open; None for one.
        limit: At most this many samples (sequences with ``state``): a choice by seed from files,
            the first of a function.
        shuffle: Read in an order drawn by seed instead of the stored one.
        seed: Of the limit's choice, of the order and of ``random``.
        dims: For ``random`` and the first ``state``, sizes of open dimensions by symbolic name or
            ``input:axis``.
        ranges: For ``random``, per integer input the lowest value and the one above the highest.
        preprocess: For images, a preset's name or a TOML file; None for the folder's own
            ``preprocess.toml``.
        tokenizer: For text, a ``tokenizer.json``; None for the one beside the text.
        max_length: For text, the most tokens of one sample.
    """

    labels: str = LABELS
    items: str | None = None
    state: Mapping[str, str] = field(default_factory=dict)
    batch_axes: Mapping[str, int] = field(default_factory=dict)
    batch: int | None = None
    limit: int | None = None
    shuffle: bool = False
    seed: int = 0
    dims: SizeChoices = field(default_factory=dict)
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    preprocess: str | None = None
    tokenizer: Path | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit of {self.limit} samples", "a number from 1")
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"batch of {self.batch} samples", "a number from 1")
        if self.state and self.batch is not None:
            raise UsageError("a batch of steps", "no batch with state: steps follow one another")
        if self.max_length is not None and self.max_length < 1:
            raise UsageError(f"max length of {self.max_length} tokens", "a number from 1")
