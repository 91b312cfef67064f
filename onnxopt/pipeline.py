"""Runs a recipe on a copy of a model and tells observers what each pass did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import onnx_ir as ir

from onnxopt.errors import BackendMissingError, DataError, OnnxoptError, PassFailedError, UsageError
from onnxopt.graph import GraphStats, stats
from onnxopt.recipe import Group, Recipe, Step
from onnxopt.store import structural_hash
from onnxopt.transform import Context, Exactness, Need, Note, Pass, StepResult

MAX_ROUNDS = 10
"""Rounds of a group that runs to a fixed point; more while nodes become fewer."""

_ROUNDS_WITHOUT_GAIN = 3
"""Rounds in a row, beyond those, that may leave the number of nodes as it is."""

_ROUNDS_AS_USUAL = 1
"""Rounds after which a group is not yet suspected of running in circles."""


class Observer(Protocol):
    """Hears about each step as it happens."""

    def step_started(self, step: Pass) -> None:
        """A pass is about to run."""

    def step_finished(self, result: StepResult) -> None:
        """A pass has run."""

    def remark(self, text: str) -> None:
        """The pipeline itself has something to say."""


class SilentObserver:
    """Hears nothing."""

    def step_started(self, step: Pass) -> None:
        """Ignore it."""

    def step_finished(self, result: StepResult) -> None:
        """Ignore it."""

    def remark(self, text: str) -> None:
        """Ignore it."""


@dataclass(frozen=True)
class PipelineResult:
    """What a recipe made of a model.

    Attributes:
        model: The result; the model that went in is untouched.
        recipe: What was asked for.
        results: One entry for each run of a pass, in order.
        executed: The passes in the order they ran, with repetitions.
        remarks: What the pipeline had to say, such as a fixed point that was not reached.
    """

    model: ir.Model
    recipe: Recipe
    results: tuple[StepResult, ...]
    executed: tuple[Pass, ...]
    remarks: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether any step applied anything."""
        return any(result.changed for result in self.results)

    @property
    def exactness(self) -> Exactness:
        """The loosest promise among the passes that changed something."""
        level = Exactness.BITWISE
        for result in self.results:
            level = level | result.exactness if result.changed else level
        return level


def run(
    model: ir.Model,
    recipe: Recipe,
    context: Context | None = None,
    observer: Observer | None = None,
    *,
    teacher: ir.Model | None = None,
    spend: bool = False,
) -> PipelineResult:
    """Run a recipe on a clone of the model (weights shared, nodes copied).

    Args:
        model: What the recipe starts from.
        recipe: What to do.
        context: What passes may look at.
        observer: Hears about each pass.
        teacher: The original that the model was made of; the model itself where None.
        spend: The caller needs the model no more: it is edited itself, which saves the time and
            memory of a clone, and no pass sees an original unless ``teacher`` is given.

    Raises:
        OnnxoptError: A need of the recipe is not met, or a pass failed; nothing is changed.
    """
    if teacher is None and not spend:
        teacher = model
    context = replace(context or Context(), teacher=teacher)
    check_needs(recipe, context)
    start = model if spend else model.clone()
    runner = _Runner(start, context, observer or SilentObserver())
    runner.run(recipe.steps)
    return PipelineResult(
        model=runner.model,
        recipe=recipe,
        results=tuple(runner.results),
        executed=tuple(runner.executed),
        remarks=tuple(runner.remarks),
    )


def check_needs(recipe: Recipe, context: Context) -> None:
    """Check that the context offers what every pass needs, before the first step.

    Raises:
        DataError: Data or labels are missing.
        BackendMissingError: The torch extra is missing.
        UsageError: The target is missing.
    """
    for step in recipe.passes():
        for need in sorted(step.needs, key=lambda n: n.name):
            if context.has(need):
                continue
            found = f"{step.name} needs {need.value} and there is none"
            match need:
                case Need.DATA | Need.LABELS:
                    raise DataError(found, todo="give it with --data")
                case Need.TORCH:
                    raise BackendMissingError(found, todo="pip install 'onnxopt[torch]'")
                case _:
                    raise UsageError(found, todo="give it with --target")


def guilty_pass(
    model: ir.Model,
    executed: Sequence[Pass],
    context: Context,
    agrees: Callable[[ir.Model], bool],
) -> Pass | None:
    """The first pass of a chain after which a model no longer agrees with the original.

    Bisects over the passes as they were executed, re-running each prefix.

    Args:
        model: The original.
        executed: The passes in the order they ran.
        context: The context they ran in.
        agrees: Whether an intermediate model agrees with the original.

    Returns:
        The pass, or None where the whole chain agrees (a disagreement that does not reproduce).
    """
    context = replace(context, teacher=model)

    def prefix_agrees(count: int) -> bool:
        runner = _Runner(model.clone(), context, SilentObserver())
        runner.run(tuple(executed[:count]))
        return agrees(runner.model)

    if prefix_agrees(len(executed)):
        return None
    good, bad = 0, len(executed)
    while bad - good > 1:
        middle = (good + bad) // 2
        if prefix_agrees(middle):
            good = middle
        else:
            bad = middle
    return executed[bad - 1]


class _Runner:
    """The state of one run: the model being edited and what was heard so far.

    An exact pass that found nothing to do, or that settles, is not asked again before something has
    changed since; none is asked where the model has nothing that it looks for.
    """

    def __init__(self, model: ir.Model, context: Context, observer: Observer) -> None:
        self.model = model
        self.context = context
        self.observer = observer
        self.results: list[StepResult] = []
        self.executed: list[Pass] = []
        self.remarks: list[str] = []
        self._stats: GraphStats = stats(model)
        self._changes = 0
        self._idle: dict[str, int] = {}

    def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, Group):
                self._run_group(step)
            elif self._may_find(step):
                self._run_pass(step)

    def _may_find(self, step: Pass) -> bool:
        wanted = step.looks_for
        if wanted is not None and wanted.isdisjoint(self._stats.ops):
            return False
        return self._idle.get(str(step)) != self._changes

    def _run_group(self, group: Group) -> None:
        if not group.to_fixed_point:
            for _ in range(group.times or 1):
                self.run(group.steps)
            return
        seen: set[str] = set()
        least, since = self._stats.nodes, 0
        number = 0
        while number < MAX_ROUNDS or since < _ROUNDS_WITHOUT_GAIN:
            start = len(self.results)
            self.run(group.steps)
            if not any(result.changed for result in self.results[start:]):
                return
            number, since = number + 1, since + 1
            if self._stats.nodes < least:
                least, since = self._stats.nodes, 0
            if number <= _ROUNDS_AS_USUAL:
                continue
            digest = structural_hash(self.model)
            if digest in seen:
                self._remark(f"stopped: {group} undoes its own work and would never end")
                return
            seen.add(digest)
        self._remark(f"stopped after {number} rounds: {group} still finds something to do")

    def _run_pass(self, step: Pass) -> None:
        self.observer.step_started(step)
        start = time.perf_counter()
        notes = tuple(_guarded(step, self.model, self.context))
        seconds = time.perf_counter() - start
        changed = any(note.kind == "applied" for note in notes)
        after = stats(self.model) if changed else self._stats
        result = StepResult(str(step), step.exactness, notes, seconds, self._stats, after)
        self._changes += changed
        if step.exactness.is_exact and (step.settles or not changed):
            self._idle[str(step)] = self._changes
        self._stats = after
        self.results.append(result)
        self.executed.append(step)
        self.observer.step_finished(result)

    def _remark(self, text: str) -> None:
        self.remarks.append(text)
        self.observer.remark(text)


def _guarded(step: Pass, model: ir.Model, context: Context) -> Iterator[Note]:
    try:
        yield from step.rewrite(model, context)
    except OnnxoptError:
        raise
    except (Exception, SystemExit) as error:  # passes may be anybody's code: name the culprit
        cause = f"{type(error).__name__}: {error}"
        raise PassFailedError(
            f"pass {step} failed: {cause}", todo="leave it out and report it"
        ) from error
