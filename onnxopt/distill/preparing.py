"""From two models and data to everything a training run needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt.data import Dataset, split
from onnxopt.distill.batch import Micro, micro_batches, to_torch
from onnxopt.distill.courses import order_of
from onnxopt.distill.hints import Hint, choose
from onnxopt.distill.joining import Axes, find_axes, one_by_one
from onnxopt.distill.learner import Forward, Learner
from onnxopt.distill.lessons import Lesson, Lessons, affordable
from onnxopt.distill.losses import Losses
from onnxopt.distill.masks import zero_masks
from onnxopt.distill.objectives import Objective, objectives
from onnxopt.distill.pairing import pair
from onnxopt.distill.plan import Material, Plan
from onnxopt.distill.scales import Scales, find_scales
from onnxopt.distill.teacher import Teacher
from onnxopt.errors import DataError, ModelError
from onnxopt.fixed import fixed_inputs

_LEAST_HELD_OUT = 8
_HELD_OUT = 0.2
_MOST_HELD_OUT = 512
_POWER_SAMPLES = 32
_FAR = 0.5
_CLOSE = 1e-2


@dataclass(frozen=True, eq=False)
class Parts:
    """What is learned from and what is judged on.

    Attributes:
        samples: To learn from.
        held_out: To judge on.
        remarks: What a person should know.
    """

    samples: Dataset
    held_out: Dataset
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Desk:
    """A run ready to begin.

    Attributes:
        bridge: The student in torch.
        learner: The same with its optimizer.
        teacher: Whoever knows.
        lessons: To learn from.
        exam: Held-out lessons.
        axes: How lessons are joined.
        hints: Inner tensors to match.
        remarks: What a person should know.
    """

    bridge: Any
    learner: Learner
    teacher: Teacher
    lessons: Lessons
    exam: Sequence[Lesson]
    axes: Axes
    hints: tuple[Hint, ...]
    remarks: tuple[str, ...]

    def examine(self, micro: int) -> float:
        """The held-out loss."""
        return self.learner.error(self.questions(micro))

    def questions(self, micro: int) -> list[Micro]:
        """The held-out lessons, so many at once."""
        return [to_torch(part) for part in micro_batches(self.exam, self.axes, micro)]


def parts_of(material: Material) -> Parts:
    """Held-out samples of their own, else a fifth of all.

    Raises:
        DataError: There are too few samples.
    """
    held_out = material.held_out
    if len(material.samples) < 1:
        raise DataError(f"{material.samples.origin} holds no samples to learn from")
    if held_out is not None and len(held_out) >= _LEAST_HELD_OUT:
        return Parts(material.samples, held_out.take(range(min(len(held_out), _MOST_HELD_OUT))))
    parted = split(material.samples, material.seed, (1 - _HELD_OUT, _HELD_OUT, 0.0))
    shown = parted.search.take(range(min(len(parted.search), _MOST_HELD_OUT)))
    shared = ("samples are too few to hold any out",) if parted.notes else ()
    return Parts(parted.calibration, shown, shared)


def prepare(
    student: ir.Model, material: Material, parts: Parts, plan: Plan, stack: ExitStack
) -> Desk:
    """Open the teacher, build the bridge and look at the first samples.

    Args:
        student: What is trained.
        material: Teacher, seed and so on.
        parts: What is learned from and judged on.
        plan: How.
        stack: Closes what was opened.

    Raises:
        ModelError: Student and teacher do not match, or the student cannot be trained.
        DataError: The data does not fit.
    """
    from onnxopt.distill import to_torch as build

    pairing = pair(material.teacher, student)
    if not pairing.is_identity:
        raise ModelError("student and teacher have different names of inputs and outputs")
    bridge = build(student)
    found = objectives(material.teacher, student)
    if not found:
        raise ModelError("the student has no float output", "one to imitate")
    hints = choose(material.teacher, student, plan.hints) if plan.hint_weight else ()
    forward = _Forward(bridge)
    hints, remarks = _comparable(student, material, parts, found, hints, forward)
    teacher = stack.enter_context(_teacher(student, material, found, hints))
    first = _first(parts, teacher)
    axes = find_axes([material.teacher, student], teacher, first)
    axes = _usable(axes, found, hints, first, forward)
    lessons, cut = _lessons(material, parts, teacher, first)
    stack.callback(lessons.close)
    exam = [Lesson(s.feeds, teacher.teach(s), s.label) for s in parts.held_out]
    losses = Losses(found, hints, _powers(exam), plan.temperature, plan.labels)
    learner = _learner(student, bridge, forward, losses, plan)
    why = (f"samples run one by one: {axes.why}",) if axes.why else ()
    return Desk(
        bridge, learner, teacher, lessons, exam, axes, hints, (*parts.remarks, *remarks, *cut, *why)
    )


class _Forward:
    """The bridge, called with the inputs it takes."""

    def __init__(self, bridge: Any) -> None:
        self._bridge = bridge

    def __call__(self, feeds: Mapping[str, Any], wanted: Sequence[str]) -> Mapping[str, Any]:
        taken = {name: feeds[name] for name in self._bridge.inputs}
        found: Mapping[str, Any] = self._bridge(taken, wanted)
        return found

    def arrays(self, feeds: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        """The same with arrays."""
        import torch

        given = {name: torch.from_numpy(np.array(value)) for name, value in feeds.items()}
        with torch.no_grad():
            return {name: value.numpy() for name, value in self(given, wanted).items()}


def _teacher(
    student: ir.Model, material: Material, found: Sequence[Objective], hints: Sequence[Hint]
) -> Teacher:
    names = [one.teacher for one in found]
    return Teacher(material.teacher, names, hints, fixed_inputs(student), material.threads)


def _first(parts: Parts, teacher: Teacher) -> Lesson:
    sample = next(iter(parts.samples.take([0])))
    return Lesson(sample.feeds, teacher.teach(sample), sample.label)


def _comparable(
    student: ir.Model,
    material: Material,
    parts: Parts,
    found: Sequence[Objective],
    hints: tuple[Hint, ...],
    forward: _Forward,
) -> tuple[tuple[Hint, ...], tuple[str, ...]]:
    """The hints whose shapes are equal in both models; what the others are."""
    if not hints:
        return (), ()
    sample = next(iter(parts.samples.take([0])))
    plain = [Hint(hint.name) for hint in hints]
    with _teacher(student, material, found, plain) as teacher:
        theirs = teacher.teach(sample)
    own = forward.arrays(sample.feeds, [hint.name for hint in hints])
    fitting: list[Hint] = []
    out: list[Hint] = []
    for hint in hints:
        try:
            fits = hint.target(theirs[hint.name]).shape == own[hint.name].shape
        except (IndexError, ValueError):
            fits = False
        (fitting if fits else out).append(hint)
    remarks = [f"{hint.name} is no hint: teacher and student differ in its size" for hint in out]
    return tuple(fitting), tuple(remarks)


def _usable(
    axes: Axes,
    found: Sequence[Objective],
    hints: Sequence[Hint],
    first: Lesson,
    forward: _Forward,
) -> Axes:
    """The axes if all that is looked at has one, and the student keeps samples apart."""
    if not axes.joins:
        return axes
    needed = [*(one.teacher for one in found), *(hint.name for hint in hints)]
    if any(name not in axes.tensors for name in needed):
        return one_by_one("joined samples do not stay apart in the teacher")
    twice = {n: np.concatenate([v, v]) if n in axes.inputs else v for n, v in first.feeds.items()}
    names = [one.student for one in found]
    try:
        single, joined = forward.arrays(first.feeds, names), forward.arrays(twice, names)
    except ModelError:
        return one_by_one("the student takes no two samples at once")
    for one in found:
        axis = axes.tensors[one.teacher]
        value = single[one.student]
        try:
            halves = np.split(joined[one.student], 2, axis)
        except ValueError:
            return one_by_one("joined samples do not stay apart in the student")
        limit = _CLOSE * float(np.linalg.norm(value)) + 1e-6
        if any(h.shape != value.shape or np.linalg.norm(h - value) > limit for h in halves):
            return one_by_one("joined samples do not stay apart in the student")
    return axes


def _lessons(
    material: Material, parts: Parts, teacher: Teacher, first: Lesson
) -> tuple[Lessons, tuple[str, ...]]:
    count = len(parts.samples)
    room = affordable(count, first)
    order = order_of(0, count, material.seed)[:room]
    cut = (f"{count - room} samples are left out: there is no room for all",)
    lessons = Lessons(parts.samples, teacher, order, folder=material.cache)
    return lessons, cut if room < count else ()


def _powers(exam: Sequence[Lesson]) -> dict[str, float]:
    """Mean square of each tensor over some lessons."""
    some = exam[:_POWER_SAMPLES]
    return {
        name: float(
            np.mean([np.mean(np.square(one.targets[name], dtype=np.float64)) for one in some])
        )
        for name in some[0].targets
    }


def _learner(
    student: ir.Model, bridge: Any, forward: Forward, losses: Losses, plan: Plan
) -> Learner:
    scales = find_scales(student) if plan.train_scales else Scales((), ())
    weights = {name: weight for name, weight in bridge.weights.items() if weight.requires_grad}
    if not weights:
        raise ModelError("the student has no weights that can be trained")
    masks = zero_masks(weights, _coded(student)) if plan.keep_zeros else {}
    for name in scales.names & bridge.weights.keys():
        weights[name] = bridge.weights[name].requires_grad_(True)
    return Learner(forward, weights, losses, masks, scales, plan)


def _coded(student: ir.Model) -> set[str]:
    """Names of weights that the file holds as integers."""
    return {
        name
        for name, value in student.graph.initializers.items()
        if value.dtype is not None and value.dtype.is_integer()
    }
