"""A batch as torch takes it, varied where that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxopt.distill.courses import groups
from onnxopt.distill.joining import Axes, Joined, join
from onnxopt.distill.lessons import Lesson
from onnxopt.distill.plan import Augment

if TYPE_CHECKING:
    from torch import Tensor

_PICTURES = 4  # axes
_NOISE = 0.1  # of an input's deviation

Says = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""What the teacher makes of other feeds."""


@dataclass(frozen=True, eq=False)
class Micro:
    """Samples that run at once.

    Attributes:
        feeds: Inputs.
        targets: What the teacher says.
        labels: One a sample; None where there are none.
        samples: How many.
    """

    feeds: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    labels: Sequence[Any] | None
    samples: int


@dataclass(frozen=True)
class Varying:
    """How inputs are varied: every second batch, so that half of all are as they were given.

    Attributes:
        kind: What is done.
        says: Asks the teacher about what comes out.
        seed: Of what is drawn; with the number of the batch it decides all.
    """

    kind: Augment
    says: Says
    seed: int


def micro_batches(lessons: Sequence[Lesson], axes: Axes, most: int) -> list[Joined]:
    """A batch in parts that can run at once."""
    return [join(group, axes) for group in groups(lessons, axes, most)]


def ready(
    stream: Iterator[list[Lesson]],
    axes: Axes,
    most: Callable[[], int],
    varying: Varying | None,
    start: int,
) -> Iterator[list[Micro]]:
    """Batches as torch takes them.

    Args:
        stream: Of lessons.
        axes: How they are joined.
        most: How many at once; may change on the way.
        varying: Of inputs; None for none.
        start: Number of the first batch.
    """
    for number, lessons in enumerate(stream, start):
        parts = micro_batches(lessons, axes, most())
        if varying is not None and number % 2:
            draw = np.random.default_rng([varying.seed, 77, number])
            parts = [_varied(part, varying, draw) for part in parts]
        yield [to_torch(part) for part in parts]


def to_torch(part: Joined) -> Micro:
    """Arrays as tensors; pictures with their channels last, which convolutions run faster on."""
    return Micro(
        {name: _channels_last(_tensor(value)) for name, value in part.feeds.items()},
        {name: _tensor(value) for name, value in part.targets.items()},
        part.labels,
        part.samples,
    )


def _tensor(value: Any) -> Tensor:
    """A copy where torch puts it: sums depend on how memory is aligned."""
    import torch

    return torch.tensor(np.asarray(value))


def _channels_last(value: Tensor) -> Tensor:
    import torch

    if value.dim() != _PICTURES or not value.is_floating_point():
        return value
    return value.contiguous(memory_format=torch.channels_last)


def _varied(part: Joined, varying: Varying, draw: np.random.Generator) -> Joined:
    change = _mixed if varying.kind == "mixup" else _noisy
    share, other = draw.uniform(0.5, 1.0), draw.permutation(part.samples)
    feeds = {
        name: change(np.asarray(value), share, other, draw)
        if np.asarray(value).dtype.kind == "f"
        else value
        for name, value in part.feeds.items()
    }
    return replace(part, feeds=feeds, targets=varying.says(feeds), labels=None)


def _mixed(value: Any, share: float, other: Any, draw: np.random.Generator) -> Any:
    if value.shape[:1] != other.shape:
        return value
    return (share * value + (1 - share) * value[other]).astype(value.dtype)


def _noisy(value: Any, share: float, other: Any, draw: np.random.Generator) -> Any:
    noise = draw.standard_normal(value.shape) * (_NOISE * share * float(value.std()))
    return (value + noise).astype(value.dtype)
