"""The verbs ``recover`` and ``distill``: a student learns to compute what its teacher does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import onnx_ir as ir

from onnxopt import pipeline, store
from onnxopt.api.budget import allows, criteria_of
from onnxopt.api.crafting import replayed, with_goal
from onnxopt.api.optimizing import step_json
from onnxopt.api.options import Budget, RunOptions
from onnxopt.api.workbench import DataSource, Workbench, open_data
from onnxopt.comparing import Comparison, compare
from onnxopt.data import Split, split
from onnxopt.distill.pairing import Pairing, copy_weights, pair, renamed
from onnxopt.errors import DataError, ModelError
from onnxopt.pipeline import Observer, PipelineResult
from onnxopt.recipe import Recipe
from onnxopt.signature import signature_of

RecoverVerdict = Literal["recovered", "unchanged"]

SPLIT = (0.7, 0.1, 0.2)
"""Shares to learn from, to choose by and to judge by, where one data set is given for all."""

_LEAST_SEARCH = 8
_UNJUDGED = "no budget was stated"


@dataclass(frozen=True, eq=False)
class RecoverResult:
    """What training did.

    Attributes:
        model: The student with its new weights.
        verdict: ``unchanged`` where new weights imitate the teacher no better.
        fits: Whether it is inside the budget.
        why: The reason in a sentence.
        pipeline: What the step did.
        before: The student against the teacher, on samples that training has not seen.
        after: The same of the result.
        saved: Where it was written; None where nothing was.
    """

    model: ir.Model
    verdict: RecoverVerdict
    fits: bool
    why: str
    pipeline: PipelineResult
    before: Comparison
    after: Comparison
    saved: store.SavedModel | None

    @property
    def recipe(self) -> Recipe:
        """The step, spelled in full: replaying it gives the same weights."""
        return replayed(self.pipeline)

    @property
    def summary(self) -> str:
        """One line: updates done, agreement before and after."""
        notes = [note for step in self.pipeline.results for note in step.notes]
        return next((note.reason for note in notes if "replay" in note.figures), "")

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of the run."""
        notes = [note for step in self.pipeline.results for note in step.notes]
        return tuple(n.reason for n in notes if n.kind == "refused" and "replay" not in n.figures)

    def to_json(self) -> dict[str, Any]:
        """The result as plain values, models left out."""
        return {
            "verdict": self.verdict,
            "fits": self.fits,
            "why": self.why,
            "summary": self.summary,
            "remarks": list(self.remarks),
            "recipe": str(self.recipe),
            "steps": [step_json(step) for step in self.pipeline.results],
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "saved": asdict(self.saved) if self.saved else None,
        }


def recover(
    student: store.Source,
    teacher: store.Source,
    output: Path | str | None = None,
    *,
    data: DataSource,
    training: Mapping[str, Any] | None = None,
    budget: Budget | None = None,
    options: RunOptions | None = None,
    observer: Observer | None = None,
) -> RecoverResult:
    """Train a student that was made of its teacher (pruned, quantized) to do what that does.

    Args:
        student: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; never changed.
        teacher: The original, with the same names of inputs and outputs.
        output: Where to write the result; None writes nothing.
        data: Samples, without labels if need be; split unless a ``Split`` is given.
        training: Options of the pass ``distill``; its defaults where None.
        budget: How much worse than the teacher the result may be; by default nothing is judged.
        options: Threads, seed and so on.
        observer: Hears about the pass.

    Raises:
        BackendMissingError: There is no torch.
        ModelError: The models do not match, or the student cannot be trained.
        OnnxoptError: A model or the data cannot be used.
    """
    task = _Task.of(student, teacher, budget, options)
    if not task.pairing.is_identity:
        pairs = {**task.pairing.inputs, **task.pairing.outputs}
        names = [f"{a} for {b}" for a, b in pairs.items() if a != b]
        raise ModelError(
            f"student and teacher have other names: {', '.join(names)}",
            "equal ones",
            "distill matches them by position",
        )
    return task.run(output, data, training or {}, observer)


def distill(
    student: store.Source,
    teacher: store.Source,
    output: Path | str | None = None,
    *,
    data: DataSource,
    training: Mapping[str, Any] | None = None,
    budget: Budget | None = None,
    options: RunOptions | None = None,
    observer: Observer | None = None,
) -> RecoverResult:
    """Train any other model with the same inputs and outputs to do what a teacher does.

    As ``recover``, but names of inputs and outputs that differ are matched by position.
    """
    task = _Task.of(student, teacher, budget, options)
    return task.run(output, data, training or {}, observer)


@dataclass(frozen=True, eq=False)
class _Task:
    """Both models and how the verb runs."""

    student: ir.Model
    teacher: ir.Model
    pairing: Pairing
    budget: Budget
    options: RunOptions

    @classmethod
    def of(
        cls,
        student: store.Source,
        teacher: store.Source,
        budget: Budget | None,
        options: RunOptions | None,
    ) -> _Task:
        """Load both models and pair their inputs and outputs."""
        own, original = store.load(student), store.load(teacher)
        pairing = pair(original, own)
        return cls(own, original, pairing, budget or Budget(), options or RunOptions())

    def run(
        self,
        output: Path | str | None,
        data: DataSource,
        training: Mapping[str, Any],
        observer: Observer | None,
    ) -> RecoverResult:
        recipe = Recipe.from_toml([{"pass": "distill", **training}])
        bench = self._bench(data)
        start = renamed(self.student, self.pairing)
        result = pipeline.run(start, recipe, bench.context, observer, teacher=self.teacher)
        before = self._compared(bench, start)
        after = self._compared(bench, result.model) if result.changed else before
        model = self.student.clone()
        copy_weights(result.model, model)
        fits, why = allows(after, self.budget) if self.budget.is_stated else (True, _UNJUDGED)
        saved = store.save(model, Path(output)) if output is not None else None
        verdict: RecoverVerdict = "recovered" if result.changed else "unchanged"
        return RecoverResult(model, verdict, fits, why, result, before, after, saved)

    def _compared(self, bench: Workbench, model: ir.Model) -> Comparison:
        """A model and the teacher on samples that training does not see."""
        asked = criteria_of(self.budget, self.options.seed)
        samples = bench.data.test if bench.data is not None else None
        if samples is None or not len(samples):
            raise DataError("there are no held-out samples to compare with")
        return compare(
            self.teacher,
            model,
            samples,
            asked if self.budget.is_stated else replace(asked, limit=None),
            config=replace(bench.session, spinning=False),
            progress=self.options.progress,
        )

    def _bench(self, data: DataSource) -> Workbench:
        """The data, opened for the teacher and split for training.

        Raises:
            DataError: There are too few samples.
        """
        if not isinstance(data, Split):
            samples = open_data(data, signature_of(self.teacher), self.options)
            data = split(samples, self.options.seed, SPLIT)
        if len(data.search) < _LEAST_SEARCH:
            data = replace(data, search=data.search.take([]))
        if not len(data.calibration) or not len(data.test):
            raise DataError("too little data to train", "samples to learn from and to judge by")
        bench = Workbench.open(self.teacher, data, self.options)
        return with_goal(bench, self.budget)
