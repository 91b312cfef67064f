"""Stateful models through the commands."""

from __future__ import annotations

from pathlib import Path

import cli
import numpy as np
import pytest

from onnxopt import store

CELL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4] x, float[N,4] h) => (float[N,4] y, float[N,4] hN)
<float[4,4] w = {WEIGHT}, float[4,4] u = {WEIGHT}, float zero = {0}>
{ a = MatMul (x, w)
  b = MatMul (h, u)
  s = Add (a, b)
  i = Identity (s)
  hN = Tanh (i)
  y = Sigmoid (hN) }"""
STATE = ("--state", "h=hN")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    weight = ", ".join(f"{v:.3f}" for v in np.random.default_rng(1).normal(0, 0.5, 16))
    path = tmp_path / "cell.onnx"
    store.save(store.from_text(CELL.replace("WEIGHT", weight)), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng, folder = np.random.default_rng(0), tmp_path / "data"
    folder.mkdir()
    for number in range(6):
        x = rng.standard_normal((10 + number, 4), dtype=np.float32)
        np.savez(folder / f"{number}.npz", x=x, labels=rng.integers(4, size=len(x)))
    return folder


def test_state_is_asked_for(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = cli.run(capsys, "compare", model, model, "--data", data)
    assert done.code == 3
    assert done.error.startswith("onnxopt: 0.npz: no data for input h; ")
    assert done.error.endswith("give --state h=hN")
    done = cli.run(capsys, "compare", model, model, "--data", data, *STATE, "--metric", "top1")
    assert done.code == 0, done.err
    assert "75 samples" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "{data}", "--state", "h=out"), "state: no output 'out'; wanted one of y, hN"),
        (("--data", "{data}", "--state", "h"), "--state 'h'; wanted INPUT=VALUE"),
        (("--data", "{data}", *STATE, "--state", "h=y"), "--state: 'h' is given twice"),
        (("--data", "random", *STATE), "state for random inputs"),
        (STATE, "state without data"),
    ],
)
def test_misuse(
    words: tuple[str, ...],
    message: str,
    model: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = [word.replace("{data}", str(data)) for word in words]
    done = cli.run(capsys, "optimize", model, "-o", tmp_path / "o.onnx", *asked)
    assert done.code == 2
    assert message in done.error


def test_optimize_quantize_and_compare(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exact, int8 = tmp_path / "exact.onnx", tmp_path / "int8.onnx"
    given = ("--data", data, *STATE, "--no-cache", "--json")
    done = cli.run(capsys, "optimize", model, "-o", exact, *given)
    assert done.code == 0, done.err
    assert done.json["equivalence"]["samples"] == 8
    recipe = "quantize-static{placement=all}"
    words = ("quantize", model, "-o", int8, *given, "--recipe", recipe, "--no-measure")
    done = cli.run(capsys, *words, "--max-error", "0.2")
    assert done.code == 0, done.err
    assert done.json["verdict"] == "int8"
    lost = done.json["comparison"]
    assert 0 < lost["fidelity"]["mean"] < 0.2
    assert {output["name"] for output in lost["outputs"]} == {"y", "hN"}
    done = cli.run(capsys, "compare", model, int8, *given)
    assert 0 < done.json["fidelity"]["mean"] < 0.2


def test_a_guilty_pass_is_found_step_by_step(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken_state_pass.py"
    broken.write_text(
        "from dataclasses import dataclass\n"
        "import onnx_ir as ir\n"
        "from onnxopt.transform import Note, Pass\n\n"
        "@dataclass(frozen=True)\n"
        "class DropTanh(Pass):\n"
        '    """h = s."""\n\n'
        "    def rewrite(self, model, context):\n"
        "        for node in model.graph:\n"
        "            if node.op_type == 'Tanh':\n"
        "                node.op_type = 'Identity'\n"
        "                yield Note.applied(node, 'dropped')\n"
    )
    import sys

    sys.path.insert(0, str(tmp_path))
    try:
        done = cli.run(
            capsys,
            *("optimize", model, "-o", tmp_path / "o.onnx", "--data", data, *STATE),
            *("--recipe", "broken_state_pass:DropTanh"),
        )
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("broken_state_pass", None)
    assert done.code == 4
    assert "guilty: pass broken_state_pass:DropTanh" in done.error


def test_benchmark_and_package(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("benchmark", model, "--data", data, *STATE, "--rounds", "2", "--samples", "3")
    done = cli.run(capsys, *words)
    assert done.code == 0, done.err
    done = cli.run(capsys, *words, "--batch", "2")
    assert done.code == 2
    assert "a batch of 2 steps" in done.error
    assert cli.run(capsys, "benchmark", model, *STATE).code == 2
    bundle = tmp_path / "bundle"
    done = cli.run(capsys, "package", model, "-o", bundle, "--data", data, *STATE)
    assert done.code == 0, done.err
    assert cli.run(capsys, "verify", bundle).code == 0
    assert cli.run(capsys, "package", model, "-o", bundle, "--force", *STATE).code == 2


def test_a_job_says_state(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "job.toml"
    text = f'source = "{model.name}"\n[data]\nsamples = "{data.name}"\nSTATE\n'
    text += '[output]\nmodel = "out.onnx"\nforce = true\n'
    job.write_text(text.replace("STATE", 'state = { h = "hN" }'))
    done = cli.run(capsys, "run", job)
    assert done.code == 0, done.err
    job.write_text(text.replace("STATE", ""))
    assert "give --state h=hN" in cli.run(capsys, "run", job).error
