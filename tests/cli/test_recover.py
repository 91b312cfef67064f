"""``onnxopt recover`` and ``onnxopt distill``."""

from __future__ import annotations

from pathlib import Path

import classroom
import cli
import numpy as np
import pytest

from onnxopt import store

STEPS = ("--steps", "30", "--rate", "0.005", "--batch", "16", "--no-cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    teacher = classroom.teacher()
    store.save(teacher, tmp_path / "teacher.onnx")
    store.save(classroom.with_zeros(teacher, 0.7), tmp_path / "student.onnx")
    pictures = np.concatenate([one.feeds["x"] for one in classroom.samples(120)])
    np.savez(tmp_path / "data.npz", x=pictures)
    return tmp_path


def run(
    capsys: pytest.CaptureFixture[str], folder: Path, verb: str, *more: object, student: str = ""
) -> cli.Outcome:
    words = [verb, folder / (student or "student.onnx"), "--teacher", folder / "teacher.onnx"]
    if "--data" not in more:
        words += ["--data", folder / "data.npz"]
    return cli.run(capsys, *words, "-o", folder / "out.onnx", *more)


def test_without_torch_it_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxopt.transform._has_torch", lambda: False)
    done = run(capsys, folder, "recover", *STEPS)
    assert done.code == 6
    assert "pip install 'onnxopt[torch]'" in done.error
    assert not (folder / "out.onnx").exists()


def test_other_outputs_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,1,6,6] x) => (float[N,1,6,6] y, float[N,1,6,6] z) { y = Neg(x) z = Abs(x) }"""
    store.save(store.from_text(text), folder / "other.onnx")
    done = run(capsys, folder, "recover", *STEPS, student="other.onnx")
    assert done.code == 3
    assert "the student has other outputs than its teacher" in done.error


def test_other_names_need_distill(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    student = classroom.with_zeros(classroom.teacher(), 0.7)
    student.graph.inputs[0].name, student.graph.outputs[0].name = "picture", "answer"
    store.save(student, folder / "named.onnx")
    done = run(capsys, folder, "recover", *STEPS, student="named.onnx")
    assert done.code == 3
    assert "picture for x" in done.error
    assert "distill" in done.error
    pytest.importorskip("torch")
    done = run(capsys, folder, "distill", *STEPS, student="named.onnx")
    assert done.code == 0, done.err
    made = store.load(folder / "out.onnx")
    assert [made.graph.inputs[0].name, made.graph.outputs[0].name] == ["picture", "answer"]
    assert classroom.without_weights(made) == classroom.without_weights(student)


def test_recovering(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    done = run(capsys, folder, "recover", *STEPS, "--json")
    assert done.code == 0, done.err
    assert done.json["verdict"] == "recovered"
    before, after = (done.json[when]["fidelity"]["mean"] for when in ("before", "after"))
    assert after < 0.8 * before
    assert done.json["recipe"].startswith("distill{steps=30")
    student, made = (store.load(folder / name) for name in ("student.onnx", "out.onnx"))
    assert classroom.without_weights(made) == classroom.without_weights(student)
    assert "verdict: recovered (" in done.err


def test_options_of_training_reach_the_step(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    more = ("--patience", "3", "--micro", "8", "--decay", "0.1", "--hint-weight", "0.5")
    done = run(capsys, folder, "recover", *STEPS, *more, "--json")
    assert done.code == 0, done.err
    for word in ("patience=3", "micro=8", "decay=0.1", "hint_weight=0.5"):
        assert word in done.json["recipe"]


def test_a_missed_budget_is_written_all_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    done = run(capsys, folder, "recover", *STEPS, "--max-error", "1e-9")
    assert done.code == 5
    assert "misses the budget" in done.error
    assert (folder / "out.onnx").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--steps", "-1"), 2, "steps is -1"),
        (("--hints", "nothing,there"), 2, "no tensor 'nothing'"),
        (("--data", "random"), 0, ""),
        (("--max-drop", "1%"), 2, "a largest drop needs a metric"),
    ],
)
def test_options(
    folder: Path,
    options: tuple[str, ...],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    done = run(capsys, folder, "recover", *STEPS, *options)
    assert done.code == code, done.err
    assert message in done.err


def test_data_without_the_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "bad.npz", z=np.zeros((20, 1, 6, 6), np.float32))
    done = run(capsys, folder, "recover", *STEPS, "--data", folder / "bad.npz")
    assert done.code == 3
    assert "x" in done.error
