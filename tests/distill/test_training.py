"""Training end to end: it helps, repeats, goes on, never makes worse, and says what went wrong."""

from __future__ import annotations

from pathlib import Path

import classroom
import numpy as np
import pytest

pytest.importorskip("torch")

from onnxopt import store
from onnxopt.distill.agreement import is_better
from onnxopt.distill.learner import Learner, OutOfMemory
from onnxopt.distill.outcome import Agreement, Outcome
from onnxopt.distill.plan import Material, Plan
from onnxopt.distill.training import distill
from onnxopt.errors import LimitError, ModelError, OnnxoptError

PLAN = Plan(steps=40, rate=5e-3, batch=16, patience=0)


def learn(student: object, plan: Plan = PLAN, **more: object) -> Outcome:
    material = Material(classroom.teacher(), classroom.samples(80), **more)  # type: ignore[arg-type]
    return distill(student, material, plan)  # type: ignore[arg-type]


def test_a_pruned_student_gets_closer_and_stays_pruned() -> None:
    student = classroom.with_zeros(classroom.teacher(), 0.7)
    before, graph = classroom.weights(student), classroom.without_weights(student)
    outcome = learn(student)
    after = classroom.weights(student)
    assert outcome.kept
    assert outcome.after.error < 0.7 * outcome.before.error
    assert classroom.without_weights(student) == graph
    assert set(outcome.weights) <= set(before)
    for name in ("w2", "w3"):
        assert not np.any(after[name][before[name] == 0])
        assert np.any(after[name] != before[name])


def test_zeros_may_be_freed() -> None:
    student = classroom.with_zeros(classroom.teacher(), 0.7)
    before = classroom.weights(student)
    learn(student, Plan(steps=20, rate=5e-3, batch=16, keep_zeros=False))
    assert np.any(classroom.weights(student)["w2"][before["w2"] == 0])


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_equal_seeds_give_equal_bytes_and_others_do_not(threads: int) -> None:
    made = []
    for seed in (0, 0, 1):
        student = classroom.with_zeros(classroom.teacher(), 0.7)
        learn(student, Plan(steps=15, rate=5e-3, batch=16), seed=seed, threads=threads)
        made.append(store.serialize(student))
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("interrupted_at", [7, 33])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    tmp_path: Path, interrupted_at: int
) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if done == interrupted_at and what.startswith("distill"):
            raise KeyboardInterrupt

    whole, parted = (classroom.with_zeros(classroom.teacher(), 0.7) for _ in range(2))
    learn(whole)
    with pytest.raises(KeyboardInterrupt):
        learn(parted, cache=tmp_path, progress=interrupt)
    assert len(list(tmp_path.glob("distill/*.pt"))) == 1
    outcome = learn(parted, cache=tmp_path)
    assert any("went on after update" in remark for remark in outcome.remarks)
    assert outcome.steps == PLAN.steps
    assert store.serialize(parted) == store.serialize(whole)
    assert not list(tmp_path.glob("distill/*.pt"))


def test_a_damaged_checkpoint_is_not_trusted(tmp_path: Path) -> None:
    def damage(what: str, done: int, total: int) -> None:
        if done == 5 and what.startswith("distill"):
            raise KeyboardInterrupt

    student = classroom.with_zeros(classroom.teacher(), 0.7)
    with pytest.raises(KeyboardInterrupt):
        learn(student, cache=tmp_path, progress=damage)
    (path,) = tmp_path.glob("distill/*.pt")
    path.write_bytes(b"nothing")
    assert learn(student, cache=tmp_path).steps == PLAN.steps


def test_a_perfect_student_is_left_alone() -> None:
    student = classroom.teacher()
    before = store.serialize(student)
    outcome = learn(student, Plan(steps=10, batch=16))
    assert not outcome.kept
    assert store.serialize(student) == before


def test_divergence_stops_and_keeps_the_old_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxopt.distill.learner._CLIP", 1e30)
    student = classroom.with_zeros(classroom.teacher(), 0.7)
    before = store.serialize(student)
    outcome = learn(student, Plan(steps=40, rate=1e30, batch=16, warmup=0.0))
    assert outcome.end == "diverged"
    assert any("was nan" in r or "was inf" in r for r in outcome.remarks), outcome
    if not outcome.kept:
        assert store.serialize(student) == before
    assert all(np.isfinite(w).all() for w in classroom.weights(student).values())


def test_memory_that_runs_out_means_smaller_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    update = Learner.update

    def hungry(self: Learner, parts: list, rate: float, hints: float) -> float:  # type: ignore[type-arg]
        if max(part.samples for part in parts) > 4:
            raise OutOfMemory
        return update(self, parts, rate, hints)

    monkeypatch.setattr(Learner, "update", hungry)
    student = classroom.with_zeros(classroom.teacher(), 0.7)
    outcome = learn(student)
    assert outcome.micro == 4
    assert outcome.steps == PLAN.steps
    assert outcome.kept
    assert "memory ran out: 4 samples run at once from here on" in outcome.remarks


def test_no_memory_for_a_single_sample_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def starving(*arguments: object) -> float:
        raise OutOfMemory

    monkeypatch.setattr(Learner, "update", starving)
    with pytest.raises(LimitError, match="no memory to train on one sample"):
        learn(classroom.with_zeros(classroom.teacher()))


def test_small_parts_give_the_same_gradient() -> None:
    errors = []
    for micro in (0, 5):
        student = classroom.with_zeros(classroom.teacher(), 0.7)
        errors.append(learn(student, Plan(steps=10, rate=5e-3, batch=16, micro=micro)).after.error)
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_a_fixed_batch_runs_one_by_one() -> None:
    teacher = classroom.teacher(batch="1")
    student = classroom.with_zeros(teacher, 0.7)
    outcome = distill(student, Material(teacher, classroom.samples(40)), Plan(steps=20, batch=8))
    assert any("one by one" in remark for remark in outcome.remarks)
    assert outcome.after.error < outcome.before.error


def test_time_is_turned_into_steps() -> None:
    student = classroom.with_zeros(classroom.teacher(), 0.7)
    outcome = learn(student, Plan(minutes=0.05, rate=5e-3, batch=16))
    assert outcome.planned >= 20
    assert outcome.seconds < 60


@pytest.mark.parametrize("augment", ["noise", "mixup"])
def test_augmented_training_helps_too(augment: str) -> None:
    student = classroom.with_zeros(classroom.teacher(), 0.7)
    outcome = learn(student, Plan(steps=40, rate=5e-3, batch=16, augment=augment))  # type: ignore[arg-type]
    assert outcome.after.error < outcome.before.error


def test_labels_count_where_they_are_asked_for() -> None:
    teacher = classroom.teacher()
    made = []
    for weight in (0.0, 5.0):
        student = classroom.with_zeros(teacher, 0.7)
        material = Material(teacher, classroom.samples(80, labels=True))
        distill(student, material, Plan(steps=10, rate=5e-3, batch=16, labels=weight, patience=0))
        made.append(store.serialize(student))
    assert made[0] != made[1]


@pytest.mark.parametrize("last", ["LogSoftmax", "Sigmoid", "Identity"])
def test_other_ends(last: str) -> None:
    teacher = classroom.teacher(last)
    student = classroom.with_zeros(teacher, 0.7)
    outcome = distill(student, Material(teacher, classroom.samples(80)), PLAN)
    assert outcome.after.error < 0.8 * outcome.before.error


def test_other_outputs_are_refused() -> None:
    other = classroom.teacher()
    other.graph.outputs[0].name = "z"
    with pytest.raises(ModelError, match="different names"):
        learn(other)


def test_data_without_an_input_is_refused() -> None:
    from onnxopt.data import in_memory

    data = in_memory([{"z": np.zeros((1, 1, 6, 6), np.float32)}] * 12)
    student = classroom.with_zeros(classroom.teacher())
    with pytest.raises(OnnxoptError, match="sample 0 has no x"):
        distill(student, Material(classroom.teacher(), data), PLAN)


def test_unsupported_operators_are_all_named() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
    g (float[N,3] x) => (float[N,3] y) <float[3,3] w = {1,0,0,0,1,0,0,0,1}> {
      a = mine.First(x)
      b = mine.Second(a)
      y = MatMul(b, w)
    }"""
    teacher = store.from_text(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x) => (float[N,3] y)
        <float[3,3] w = {1,0,0,0,1,0,0,0,1}> { y = MatMul(x, w) }"""
    )
    from onnxopt.data import in_memory

    data = in_memory([{"x": np.full((1, 3), n, np.float32)} for n in range(12)])
    with pytest.raises(ModelError) as caught:
        distill(store.from_text(text), Material(teacher, data), PLAN)
    assert "First" in str(caught.value)
    assert "Second" in str(caught.value)


def test_a_rate_that_ruins_the_student_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxopt.distill.training.suitable_rate", lambda error: 0.5)
    tried, given = (classroom.with_zeros(classroom.teacher(), 0.7) for _ in range(2))
    outcome = learn(tried, Plan(steps=200, batch=16, patience=0))
    assert outcome.rate < 0.5
    assert outcome.kept
    assert outcome.after.error < outcome.before.error
    again = learn(given, Plan(steps=200, batch=16, patience=0, rate=outcome.rate))
    assert again.history == outcome.history
    assert store.serialize(given) == store.serialize(tried)


def test_a_run_whose_rate_was_tried_goes_on_with_it(tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if done == 30 and what.startswith("distill"):
            raise KeyboardInterrupt

    plan = Plan(steps=60, batch=16, patience=0)
    whole, parted = (classroom.with_zeros(classroom.teacher(), 0.7) for _ in range(2))
    rate = learn(whole, plan).rate
    with pytest.raises(KeyboardInterrupt):
        learn(parted, plan, cache=tmp_path, progress=interrupt)
    assert learn(parted, plan, cache=tmp_path).rate == rate
    assert store.serialize(parted) == store.serialize(whole)


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ((0.9, 0.60), True),
        ((0.9, 0.57), True),
        ((0.9, 0.12), False),
        ((1.5, 0.61), True),
        ((1.5, 0.60), False),
        ((float("inf"), 1.0), False),
    ],
)
def test_a_smaller_error_is_no_excuse_for_other_answers(
    after: tuple[float, float], kept: bool
) -> None:
    before = Agreement(1.4, 0.60, 100)
    assert is_better(Agreement(*after, 100), before) is kept
