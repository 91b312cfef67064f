"""What a user may get wrong: one line each, the right exit code, nothing lost."""

from __future__ import annotations

import signal
from pathlib import Path

import cli
import numpy as np
import pytest

from onnxopt import store
from onnxopt_models import digits

PASSES = """
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar
from onnxopt.transform import Context, Exactness, Need, Note, Pass
import os, signal, sys, time

@dataclass(frozen=True)
class Mine(Pass):
    '''x → x.'''
    needs: ClassVar = frozenset({Need.DATA})
    limit: int = 1
    def rewrite(self, model, context):
        yield Note.applied("x", "seen")

@dataclass(frozen=True)
class Quits(Pass):
    '''x → x.'''
    def rewrite(self, model, context):
        sys.exit(0)
        yield

@dataclass(frozen=True)
class IsTerminated(Pass):
    '''x → x.'''
    def rewrite(self, model, context):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        yield

@dataclass(frozen=True)
class Loses(Pass):
    '''x → about x.'''
    exactness: ClassVar = Exactness.LOSSY
    def rewrite(self, model, context):
        yield Note.applied("x", "lost")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,2] x) => (float[N,2] y) { y = Neg(x) }"""
    store.save(store.from_text(text), tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=np.ones((30, 2), np.float32), labels=np.zeros(30, np.int64))
    (tmp_path / "mine.py").write_text(PASSES)
    return tmp_path


def optimize(capsys: pytest.CaptureFixture[str], folder: Path, *more: object) -> cli.Outcome:
    return cli.run(capsys, "optimize", folder / "m.onnx", "-o", folder / "out.onnx", *more)


@pytest.mark.parametrize(
    ("recipe", "code", "message"),
    [
        ("mine.py:Mine", 3, "needs calibration data"),
        ("mine.py:Mine{limit=abc}", 2, "option 'limit'"),
        ("mine.py:Mine{limit=true}", 2, "option 'limit'"),
        ("mine.py:Quits", 1, "failed: SystemExit"),
        ("mine.py:Loses", 2, "the recipe is lossy"),
        ("mine.py:Nothing", 2, "has no 'Nothing'"),
        ("missing.py:Mine", 2, "no file"),
        ("raise-opset{to=17, to=18}", 2, "option 'to' twice"),
        ('raise-opset{to="18"}', 2, "option 'to'"),
    ],
)
def test_recipes_of_ones_own(
    folder: Path,
    recipe: str,
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    done = optimize(capsys, folder, "--recipe", recipe)
    assert (done.code, message in done.error) == (code, True), done.err
    assert not (folder / "out.onnx").exists()


def test_a_process_told_to_end_blames_no_pass(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    done = optimize(capsys, folder, "--recipe", f"{folder}/mine.py:IsTerminated")
    assert (done.code, "failed" in done.err) == (128 + signal.SIGTERM, False)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not (folder / "out.onnx").exists()


def test_a_pass_of_ones_own_keeps_its_options_and_notes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = f"{folder}/mine.py:Mine{{limit=3}}"
    done = optimize(capsys, folder, "--recipe", recipe, "--data", folder / "data.npz", "--json")
    assert done.code == 0, done.err
    assert done.json["recipe"] == recipe
    assert done.json["steps"][0]["notes"][0]["reason"] == "seen"


def test_a_lone_refusal_is_seen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = optimize(capsys, folder, "--recipe", "raise-opset{to=99}")
    assert done.code == 0
    assert "raise-opset{to=99}: 0 applied, 1 refused" in done.err


def test_destinations_are_checked_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for output in (folder / "nope" / "x.onnx", folder):
        done = cli.run(capsys, "optimize", folder / "m.onnx", "-o", output, "--force")
        assert done.code == 2
        assert "verified" not in done.out


def test_control_characters_do_not_reach_the_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = optimize(capsys, folder, "--recipe", "a\x1b[31mb")
    assert done.code == 2
    assert "\x1b" not in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["--dim", "N=²"],
        ["--dim", "N"],
        ["--seed", "-1"],
        ["--threads", "0"],
    ],
)
def test_bad_numbers(folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert optimize(capsys, folder, *words).code == 2


def test_a_metric_alone_does_not_switch_the_budget_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxopt.api import options

    monkeypatch.setattr(options, "DEFAULT_MAX_ERROR", 1e-6)
    few = tmp_path / "few.npz"
    with np.load(digits.CALIBRATION) as archive:
        np.savez(few, **{name: array[:40] for name, array in archive.items()})
    words = ["quantize", digits.MODEL, "-o", tmp_path / "o.onnx", "--data", few]
    done = cli.run(capsys, *words, "--metric", "top1")
    assert done.code == 0
    assert "verdict: kept-float" in done.out


def test_options_that_would_be_ignored(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["quantize", folder / "m.onnx", "-o", folder / "o.onnx", "--data", "random"]
    done = cli.run(capsys, *words, "--method", "minmax", "--recipe", "quantize-static")
    assert done.code == 2
    assert cli.run(capsys, "inspect", folder / "m.onnx", "--text", "--json").code == 2
    for command in ("package", "demo", "run"):
        assert cli.run(capsys, command, "--dry-run").code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[output]\nbundle = "b"', "no data"),
        ('[output]\nmodel = "o.onnx"\n[candidates]\nint8 = "quantize-static"', "candidates"),
        ('recipe = "exact"\n[output]\nbundle = "b"', "recipe without output.model"),
        ('[budget]\nmax_error = 0.1\n[output]\nmodel = "o.onnx"', "budget for an exact"),
        ('[data]\nsamples = "gone.npz"\n[output]\nmodel = "o.onnx"', "gone.npz"),
        ('[output]\nmodel = "m.onnx"', "exists"),
    ],
)
def test_jobs_are_checked_before_anything_is_written(
    folder: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    job = folder / "job.toml"
    job.write_text(f'source = "m.onnx"\n{text}')
    done = cli.run(capsys, "run", job)
    assert done.code in (2, 3)
    assert message in done.error
    job.unlink()
    assert sorted(folder.iterdir()) == before


def test_compare_judges_only_what_was_stated(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", folder / "m.onnx", folder / "m.onnx", "--data", folder / "data.npz"]
    assert "budget" not in cli.run(capsys, *words).out
    assert "budget: inside" in cli.run(capsys, *words, "--max-error", "0.1").out


def test_the_temporary_files_of_a_check_are_not_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "no.such" : 1]>
    g (float[2] x) => (float[2] y) { y = no.such.Op(x) }"""
    store.save(store.from_text(text), folder / "custom.onnx")
    done = cli.run(capsys, "optimize", folder / "custom.onnx", "-o", folder / "o.onnx")
    assert done.code == 3
    assert "/onnxopt-" not in done.error
    assert "the original" in done.error


def test_a_metric_that_raises_is_named_with_its_sample(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.py").write_text("def met(outputs, label):\n    return 1 / 0\n")
    words = ["compare", folder / "m.onnx", folder / "m.onnx", "--data", folder / "data.npz"]
    done = cli.run(capsys, *words, "--metric", f"{folder}/bad.py:met")
    assert done.code == 3
    assert "raised ZeroDivisionError" in done.error


def test_a_method_that_no_step_of_the_target_takes_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["quantize", folder / "m.onnx", "-o", folder / "o.onnx", "--data", "random"]
    done = cli.run(capsys, *words, "--method", "mse", "--target", "cuda", "--no-measure")
    assert done.code == 2
    assert "what cuda does (convert-float16) reads no ranges" in done.error
    assert not (folder / "o.onnx").exists()


def test_a_method_is_that_of_the_steps_of_the_target(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = folder / "mine.toml"
    target.write_text(
        'extends = "x64-vnni"\nname = "mine"\nsummary = "s"\n'
        'lossy_recipe = "quantize-static{placement=all, percentile=99.0}"\n'
    )
    words = ["quantize", folder / "m.onnx", "-o", folder / "o.onnx", "--data", folder / "data.npz"]
    done = cli.run(
        capsys, *words, "--method", "percentile", "--target", target, "--no-measure", "--json"
    )
    assert done.code == 0, done.err
    spelled = "quantize-static{method=percentile, percentile=99.0, placement=all}"
    assert spelled in done.json["recipe"]
