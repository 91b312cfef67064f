"""The pass as a step of recipes: what it needs, what it says, and that its replay repeats."""

from __future__ import annotations

import classroom
import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("torch")

from onnxopt import pipeline, store
from onnxopt.errors import BackendMissingError, DataError
from onnxopt.recipe import Recipe
from onnxopt.targets import load_target
from onnxopt.transform import Context, Need
from onnxopt_passes.recover.distill import Distill

FAST = "steps=30, rate=0.005, batch=12, patience=0"


def context(**more: object) -> Context:
    return Context(calibration=classroom.samples(80), **more)  # type: ignore[arg-type]


def run(recipe: str, **more: object) -> pipeline.PipelineResult:
    teacher = classroom.teacher()
    student = classroom.with_zeros(teacher, 0.7)
    return pipeline.run(student, Recipe.parse(recipe), context(**more), teacher=teacher)


def test_the_replay_gives_the_same_bytes() -> None:
    first = run("distill{minutes=0.01, rate=0.005, batch=16}")
    replay = first.results[0].replay
    assert "minutes" not in replay
    assert "steps=" in replay
    again, once_more = run(replay), run(replay)
    assert store.serialize(again.model) == store.serialize(first.model)
    assert store.serialize(again.model) == store.serialize(once_more.model)


def test_the_note_says_how_it_went() -> None:
    result = run(f"distill{{{FAST}}}")
    note = result.results[0].notes[-1]
    assert note.kind == "applied"
    assert "30 of 30 updates" in note.reason
    assert "held-out samples" in note.reason
    assert float(note.figures["error_after"]) < float(note.figures["error_before"])
    assert note.figures["replay"] == f"distill{{{FAST}}}"


def test_a_refusal_changes_nothing() -> None:
    teacher = classroom.teacher()
    result = pipeline.run(teacher, Recipe.parse(f"distill{{{FAST}}}"), context())
    assert not result.changed
    assert store.content_hash(result.model) == store.content_hash(teacher)


def test_search_samples_judge_where_there_are_any() -> None:
    note = run(f"distill{{{FAST}}}", search=classroom.samples(24, seed=5)).results[0].notes[-1]
    assert "on 24 held-out samples" in note.reason


def test_needs_are_told_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="distill needs calibration data"):
        pipeline.run(classroom.teacher(), Recipe.parse("distill"), Context())
    monkeypatch.setattr(Context, "has", lambda self, need: need is not Need.TORCH)
    with pytest.raises(BackendMissingError, match=r"pip install 'onnxopt\[torch\]'"):
        run("distill")


def test_options_are_spelled_and_read_back() -> None:
    step = Distill(minutes=5, hints=("a", "b"), augment="mixup", train_scales=True)
    assert Recipe.parse(str(step)).steps == (step,)


def test_prune_and_recover_take_turns() -> None:
    recipe = f"(prune-channels{{keep=0.75, multiple=1, least=1}} | distill{{{FAST}}}){{times=2}}"
    teacher = classroom.teacher()
    result = pipeline.run(teacher, Recipe.parse(recipe), context())
    plain = pipeline.run(
        teacher, Recipe.parse("(prune-channels{keep=0.75, multiple=1, least=1}){times=2}")
    )
    shapes = [value.shape for value in result.model.graph.initializers.values()]
    assert shapes == [value.shape for value in plain.model.graph.initializers.values()]
    distills = [one for one in result.results if one.step.startswith("distill")]
    assert len(distills) == 2
    assert all(one.changed for one in distills)
    notes = [note for one in distills for note in one.notes]
    assert not any("is no hint" in note.reason for note in notes)


@pytest.mark.parametrize("scales", [False, True])
def test_int8_is_trained_through(scales: bool) -> None:
    teacher = classroom.teacher()
    full = context(target=load_target("x64-vnni"))
    coarse = pipeline.run(teacher, Recipe.parse("quantize-static{placement=all}"), full)
    assert coarse.changed
    damaged = coarse.model.clone()
    for name, value in damaged.graph.initializers.items():
        if name.endswith("/q") and value.const_value is not None:
            codes = value.const_value.numpy()
            rough = np.clip((codes.astype(int) // 16) * 16, -127, 127).astype(codes.dtype)
            value.const_value = ir.tensor(rough, name=name)
    step = f"distill{{{FAST}, train_scales={'true' if scales else 'false'}}}"
    result = pipeline.run(damaged, Recipe.parse(step), full, teacher=teacher)
    note = result.results[0].notes[-1]
    assert note.kind == "applied", note
    assert float(note.figures["error_after"]) < 0.7 * float(note.figures["error_before"])
    types = {n: v.dtype for n, v in result.model.graph.initializers.items()}
    assert types == {n: v.dtype for n, v in damaged.graph.initializers.items()}
