"""Several lessons as one: which axis of each tensor counts samples, and arrays joined along it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt.data import Feeds
from onnxopt.distill.lessons import Lesson
from onnxopt.distill.teacher import Teacher
from onnxopt.errors import OnnxoptError
from onnxopt.signature import signature_of

_CLOSE = 1e-2


@dataclass(frozen=True)
class Axes:
    """Where samples lie beside each other.

    Attributes:
        inputs: Axis of each input that is joined; others must be equal in joined samples. Empty
            where samples run one by one.
        tensors: Axis of each tensor of the teacher that has one.
        why: The reason where samples run one by one.
    """

    inputs: Mapping[str, int]
    tensors: Mapping[str, int]
    why: str = ""

    @property
    def joins(self) -> bool:
        """Whether samples may be joined at all."""
        return bool(self.inputs)


@dataclass(frozen=True, eq=False)
class Joined:
    """Several lessons in arrays of their own.

    Attributes:
        feeds: Inputs.
        targets: Tensors of the teacher.
        labels: One for each lesson; None where any has none.
        samples: How many lessons.
    """

    feeds: Feeds
    targets: Mapping[str, Any]
    labels: Sequence[Any] | None
    samples: int


def find_axes(models: Sequence[ir.Model], teacher: Teacher, lesson: Lesson) -> Axes:
    """Look at what the teacher makes of one sample, and of the same sample twice.

    Args:
        models: Whose inputs must all be open along their first axis.
        teacher: Of them.
        lesson: What it made of one sample.
    """
    inputs = {name: 0 for name in lesson.feeds if all(_is_open(model, name) for model in models)}
    if not inputs:
        return Axes({}, {}, "no input is open along its first axis")
    twice = {n: np.concatenate([v, v]) if n in inputs else v for n, v in lesson.feeds.items()}
    try:
        found = teacher.says(twice, "two samples joined")
    except OnnxoptError:
        return Axes({}, {}, "the teacher takes no two samples at once")
    tensors = {}
    for name, value in lesson.targets.items():
        axis = _doubled(value.shape, found[name].shape)
        if axis is not None and _agrees(value, found[name], axis):
            tensors[name] = axis
    return Axes(inputs, tensors)


def one_by_one(why: str) -> Axes:
    """No joining."""
    return Axes({}, {}, why)


def key_of(lesson: Lesson, axes: Axes) -> tuple[object, ...]:
    """Equal for lessons that can be joined."""
    parts: list[object] = []
    for name in sorted(lesson.feeds):
        value = np.asarray(lesson.feeds[name])
        shape = value.shape[1:] if name in axes.inputs else value.shape
        same = "" if name in axes.inputs else hashlib.sha256(value.tobytes()).hexdigest()
        parts.append((name, shape, same))
    for name in sorted(lesson.targets):
        sizes = list(np.shape(lesson.targets[name]))
        if name in axes.tensors:
            sizes[axes.tensors[name]] = -1
        parts.append((name, tuple(sizes)))
    return tuple(parts)


def join(lessons: Sequence[Lesson], axes: Axes) -> Joined:
    """Lessons of one key as one."""
    first = lessons[0]
    if len(lessons) == 1:
        labels = None if first.label is None else [first.label]
        return Joined(first.feeds, first.targets, labels, 1)
    feeds = {
        name: np.concatenate([one.feeds[name] for one in lessons]) if name in axes.inputs else value
        for name, value in first.feeds.items()
    }
    targets = {
        name: np.concatenate([one.targets[name] for one in lessons], axis)
        for name, axis in axes.tensors.items()
    }
    labelled = all(one.label is not None for one in lessons)
    return Joined(
        feeds, targets, [one.label for one in lessons] if labelled else None, len(lessons)
    )


def _is_open(model: ir.Model, name: str) -> bool:
    spec = signature_of(model).input(name)
    if spec is None:
        return True
    return bool(spec.shape) and not isinstance((spec.shape or (1,))[0], int)


def _doubled(once: Sequence[int], twice: Sequence[int]) -> int | None:
    if len(once) != len(twice):
        return None
    other = [at for at, (a, b) in enumerate(zip(once, twice, strict=True)) if a != b]
    return other[0] if len(other) == 1 and twice[other[0]] == 2 * once[other[0]] else None


def _agrees(value: Any, joined: Any, axis: int) -> bool:
    halves = np.split(joined, 2, axis)
    scale = float(np.linalg.norm(value)) + 1e-12
    return all(float(np.linalg.norm(half - value)) <= _CLOSE * scale for half in halves)
