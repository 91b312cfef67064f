"""Trains a student to do what its teacher does, and keeps the result only if it does."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxopt.distill import checkpoint
from onnxopt.distill.agreement import agreement, is_better
from onnxopt.distill.batch import Varying, ready
from onnxopt.distill.courses import ahead, batches
from onnxopt.distill.learner import OutOfMemory
from onnxopt.distill.outcome import Agreement, End, Outcome
from onnxopt.distill.plan import Material, Plan
from onnxopt.distill.preparing import Desk, Parts, parts_of, prepare
from onnxopt.distill.schedule import (
    LEAST_STEPS,
    Schedule,
    Speed,
    affordable_steps,
    make_schedule,
    suitable_rate,
)
from onnxopt.errors import LimitError
from onnxopt.store import content_hash

_TIMED = 4
_WRITE_SECONDS = 60.0  # between checkpoints
_LATE = 1.1  # of the time limit: then a run stops wherever its schedule is
_BETTER = 1 - 1e-4
_TRIED_RATES = (1.0, 0.25, 0.0625)  # of the rate that suits the error
_TRIED_UPDATES = 12
_LEAST_TRIED = 2
_TRIED_SHARE = 8  # one update in so many may be a trial
_AS_GOOD = 1.1


def distill(student: ir.Model, material: Material, plan: Plan) -> Outcome:
    """Train the weights of a student in place; its graph stays as it is.

    The student keeps its old weights where the new ones imitate the teacher no better on held-out
    samples. Equal models, data, steps, seed and threads give equal weights.

    Args:
        student: Has the teacher's names of inputs and outputs.
        material: Teacher and data.
        plan: How.

    Raises:
        BackendMissingError: There is no torch.
        ModelError: Student and teacher do not match, or the student has operators that cannot be
            trained through; all are named.
        DataError: The data does not fit.
        LimitError: There is no memory for a single sample.
        KeyboardInterrupt: As it came; with a cache, the same call goes on where it was.
    """
    start = time.monotonic()
    parts = parts_of(material)
    with ExitStack() as stack:
        stack.enter_context(_threads(material.threads))
        desk = prepare(student, material, parts, plan, stack)
        before = agreement(material.teacher, student, parts.held_out, material.threads)
        asked, plan = plan, plan if plan.rate else replace(plan, rate=suitable_rate(before.error))
        run = _Run(desk, material, plan, _file(student, material, parts, asked), start)
        run.may_try_rates = not asked.rate
        end = run.train()
        trial = student.clone()
        names = run.write_back(trial)
        after = agreement(material.teacher, trial, parts.held_out, material.threads)
        kept = run.at.best_step > 0 and is_better(after, before)
        if kept:
            desk.bridge.write_back(student)
        run.forget()
    return _outcome(run, end, before, after, names if kept else ())


@dataclass
class _Progress:
    """How far a run is: what a checkpoint holds besides tensors."""

    step: int = 0
    total: int = 0
    best_step: int = 0
    best_error: float = math.inf
    micro: int = 0
    seconds: float = 0.0
    history: list[tuple[int, float]] = field(default_factory=list)


class _Run:
    """One run, from the first update or from a checkpoint to its end.

    Attributes:
        may_try_rates: Whether the rate may be less than the plan's, where that does better.
    """

    may_try_rates = False

    def __init__(
        self, desk: Desk, material: Material, plan: Plan, path: Path | None, start: float
    ) -> None:
        self._desk, self._material, self._plan, self._path = desk, material, plan, path
        self._start = start
        self._count = len(desk.lessons)
        self.batch = min(plan.batch, self._count)
        self.at = _Progress(micro=min(plan.micro or plan.batch, plan.batch))
        self.remarks: list[str] = list(desk.remarks)
        self._best = desk.learner.state()
        self._saved: dict[str, Any] | None = None
        self._written = start

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        return self._plan.rate

    @property
    def hints(self) -> tuple[str, ...]:
        """The inner tensors that are matched."""
        return tuple(hint.name for hint in self._desk.hints)

    @property
    def elapsed(self) -> float:
        """Seconds since the start, those before an interruption included."""
        return self.at.seconds + time.monotonic() - self._start

    def train(self) -> End:
        """Go on until the end."""
        if not self._resume():
            self.at.best_error = self._examine()
            self._desk.learner.weigh(self._desk.questions(self.at.micro))
            self.at.history.append((0, self.at.best_error))
            self.at.total = self._plan.steps or self._measured_total()
            if self.may_try_rates:
                self._try_rates()
        schedule = make_schedule(self._plan, self.at.total)
        try:
            return self._loop(schedule)
        except (KeyboardInterrupt, SystemExit):
            self._write()
            raise

    def write_back(self, model: ir.Model) -> tuple[str, ...]:
        """Put the best weights into a model."""
        self._desk.learner.load(self._best, None)
        return tuple(self._desk.bridge.write_back(model))

    def forget(self) -> None:
        """Remove the checkpoint of a run that has ended."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _loop(self, schedule: Schedule) -> End:
        self._remember()
        while True:
            with closing(self._stream(self.at.step)) as stream:
                for parts in stream:
                    if self.at.step >= schedule.total:
                        return "finished"
                    loss = self._update(parts, schedule)
                    if loss is None:
                        break  # the same batch again, in smaller parts
                    end = self._after(loss, schedule)
                    if end is not None:
                        return end

    def _after(self, loss: float, schedule: Schedule) -> End | None:
        """Count an update and examine now and then; why to end where it is time."""
        at = self.at
        if not math.isfinite(loss):
            text = f"the loss was {loss} at update {at.step + 1}: training stopped there"
            self.remarks.append(text)
            return "diverged"
        at.step += 1
        last = at.step == schedule.total or at.step == self._plan.stop
        end = None
        if last or at.step % schedule.evaluate_every == 0:
            end = self._judge(schedule)
        self._tell(schedule)
        if end is None and at.step == self._plan.stop:
            return "stopped"
        return end

    def _update(self, parts: Any, schedule: Schedule) -> float | None:
        """One update; None where memory ran out and smaller parts are to be tried."""
        step = self.at.step
        try:
            return self._desk.learner.update(
                parts, schedule.rate_at(step), schedule.hint_weight_at(step)
            )
        except OutOfMemory:
            self._shrink()
            return None

    def _shrink(self) -> None:
        if self.at.micro == 1:
            raise LimitError(
                "there is no memory to train on one sample",
                todo="give the machine more, or data with smaller inputs",
            )
        self.at.micro = max(1, self.at.micro // 2)
        self.remarks.append(f"memory ran out: {self.at.micro} samples run at once from here on")

    def _judge(self, schedule: Schedule) -> End | None:
        """Examine, remember the best; why to end where it is time."""
        at = self.at
        error = self._examine()
        at.history.append((at.step, error))
        if not math.isfinite(error):
            self.remarks.append(f"the held-out loss was {error} after update {at.step}")
            return "diverged"
        if error < at.best_error * _BETTER:
            at.best_error, at.best_step = error, at.step
            self._best = self._desk.learner.state()
        self._remember()
        since = sum(step > at.best_step for step, _ in at.history)
        if self._plan.patience and since >= self._plan.patience:
            return "early"
        if self.elapsed > self._plan.seconds * _LATE and at.step < schedule.total:
            self.remarks.append(f"time was up after {at.step} of {schedule.total} updates")
            return "time"
        return None

    def _examine(self) -> float:
        while True:
            try:
                return self._desk.examine(self.at.micro)
            except OutOfMemory:
                self._shrink()

    def _stream(self, start: int) -> Generator[Any]:
        desk, seed = self._desk, self._material.seed
        lessons = batches(desk.lessons.get, desk.lessons.order, self.batch, seed, start)
        varying = None
        if self._plan.augment != "none":
            varying = Varying(self._plan.augment, desk.teacher.says, seed)
        return ahead(ready(lessons, desk.axes, lambda: self.at.micro, varying, start))

    def _measured_total(self) -> int:
        """As many updates as the time allows; the weights are as before."""
        desk, first = self._desk, self._desk.learner.state()
        schedule = make_schedule(self._plan, 1000)
        taken = self._take(_TIMED, schedule)
        start = time.perf_counter()
        self._examine()
        evaluation = time.perf_counter() - start
        desk.learner.load(first, None)
        lesson = desk.lessons.seconds / max(1, desk.lessons.made)
        speed = Speed(sum(taken[1:]) / len(taken[1:]), evaluation, lesson)
        left = self._plan.seconds - self.elapsed
        return affordable_steps(speed, left, self._count, self.batch)

    def _try_rates(self) -> None:
        """Take the highest rate that does about as well as any in a few updates."""
        updates = min(_TRIED_UPDATES, self.at.total // (_TRIED_SHARE * len(_TRIED_RATES)))
        if updates < _LEAST_TRIED:
            return
        first, highest = self._desk.learner.state(), self._plan.rate
        found: dict[float, float] = {}
        for share in _TRIED_RATES:
            rate = float(f"{highest * share:.1e}")
            self._take(updates, Schedule(self.at.total, rate, 0.0, self._plan.hint_weight))
            error = self._examine()
            found[rate] = error if math.isfinite(error) else math.inf
            self._desk.learner.load(first, None)
        least = min(found.values())
        rate = next(rate for rate, error in found.items() if error <= _AS_GOOD * least)
        self._plan = replace(self._plan, rate=rate)
        if not self._plan.steps:
            self.at.total = max(LEAST_STEPS, self.at.total - updates * len(_TRIED_RATES))

    def _take(self, updates: int, schedule: Schedule) -> list[float]:
        """Updates with the first batches, at the schedule's first rate; the seconds of each."""
        taken: list[float] = []
        while len(taken) < updates:
            with closing(self._stream(0)) as stream:
                for parts in stream:
                    start = time.perf_counter()
                    if self._update(parts, schedule) is None:
                        break  # the same batches again, in smaller parts
                    taken.append(time.perf_counter() - start)
                    if len(taken) == updates:
                        break
        return taken

    def _remember(self) -> None:
        """Keep a state to go on from, where there is a place for it."""
        if self._path is None:
            return
        at, learner = self.at, self._desk.learner
        self._saved = {
            "weights": learner.state(),
            "best": self._best,
            "optimizer": learner.optimizer_state(),
            "step": at.step,
            "total": at.total,
            "best_step": at.best_step,
            "best_error": at.best_error,
            "micro": at.micro,
            "rate": self._plan.rate,
            "balance": learner.balance,
            "seconds": self.elapsed,
            "history": list(at.history),
        }
        if time.monotonic() - self._written > _WRITE_SECONDS:
            self._write()

    def _write(self) -> None:
        """Put the last state that was kept on disk."""
        if self._path is not None and self._saved is not None:
            checkpoint.write(self._path, self._saved)
            self._written = time.monotonic()

    def _resume(self) -> bool:
        found = None if self._path is None else checkpoint.read(self._path)
        if found is None:
            return False
        self._desk.learner.load(found["weights"], found["optimizer"])
        self._desk.learner.balance = float(found["balance"])
        self._best = found["best"]
        self._plan = replace(self._plan, rate=float(found["rate"]))
        history = [(int(step), float(error)) for step, error in found["history"]]
        self.at = _Progress(
            **{k: found[k] for k in ("step", "total", "best_step", "best_error", "micro")},
            seconds=found["seconds"],
            history=history,
        )
        self.remarks.append(f"went on after update {self.at.step}, where it was interrupted")
        return True

    def _tell(self, schedule: Schedule) -> None:
        at = self.at
        left = self.elapsed / max(at.step, 1) * (schedule.total - at.step)
        first = at.history[0][1]
        text = f"distill, loss {first:.3g} → {at.best_error:.3g}, {_clock(left)} left"
        self._material.progress(text, at.step, schedule.total)


def _outcome(
    run: _Run,
    end: End,
    before: Agreement,
    after: Agreement,
    names: tuple[str, ...],
) -> Outcome:
    at = run.at
    return Outcome(
        kept=bool(names),
        before=before,
        after=after,
        steps=at.step,
        planned=at.total,
        best=at.best_step,
        end=end,
        seconds=run.elapsed,
        rate=run.rate,
        micro=at.micro,
        weights=names,
        hints=run.hints,
        history=tuple(at.history),
        remarks=tuple(run.remarks),
    )


def _file(student: ir.Model, material: Material, parts: Parts, plan: Plan) -> Path | None:
    """Where a run is kept while it is interrupted."""
    if material.cache is None:
        return None
    import torch

    data = (parts.samples.fingerprint, parts.held_out.fingerprint)
    models = (content_hash(material.teacher), content_hash(student))
    options = (plan, material.seed, material.threads, torch.__version__)
    return checkpoint.path_for(material.cache, *models, *data, *options)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for torch, and afterwards as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
