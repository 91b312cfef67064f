"""``--dim``, ``--set`` and ``--keep-inputs``: models built for fewer callers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli import run

from onnxopt import store

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4] x, int64 sr) => (float[N,4] y) <int64 rate = {16000}> {
  fast = Equal(sr, rate)
  y = If(fast) <
    then_branch = a () => (float[N,4] t) { t = Neg(x) },
    else_branch = b () => (float[N,4] e) { e = Abs(x) }
  >
}"""


def _inputs(path: Path) -> list[str]:
    return [f"{value.name}{value.shape}" for value in store.load(path).graph.inputs]


def test_sizes_and_values_are_built_in(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.onnx"
    result = run(capsys, "optimize", model, "-o", output, "--dim", "N=2", "--set", "sr=16000")
    assert result.code == 0, result.err
    assert _inputs(output) == ["x[2,4]"]
    run(capsys, "optimize", model, "-o", output, "--force", "--set", "sr=16000")
    compared = run(capsys, "compare", model, output, "--data", _data(tmp_path, 16000), "--json")
    assert compared.json["agrees"]


def test_the_general_model_is_fed_what_is_built_in(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.onnx"
    run(capsys, "optimize", model, "-o", output, "--set", "sr=16000", "--keep-inputs")
    assert _inputs(output) == ["x[N,4]", "sr[]"]
    result = run(capsys, "benchmark", model, output, "--rounds", "2", "--dim", "N=1,3", "--json")
    assert [entry["dims"] for entry in result.json] == [{"N": 1}, {"N": 3}]


def test_another_value_than_the_one_built_in_is_an_error(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.onnx"
    run(capsys, "optimize", model, "-o", output, "--set", "sr=16000")
    result = run(capsys, "compare", model, output, "--data", _data(tmp_path, 8000))
    assert result.code == 3
    assert "input sr is 8000; wanted 16000, which is built into the model" in result.err


def test_several_sizes_are_tried_and_none_is_built_in(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.onnx"
    result = run(capsys, "optimize", model, "-o", output, "--dim", "N=1,3,5", "--json")
    assert result.json["equivalence"]["samples"] == 3
    assert _inputs(output) == ["x[N,4]", "sr[]"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dim", "M=1"], "no open dimension 'M'"),
        (["--dim", "N=1,2", "--dim", "M=1,2,3"], "one length"),
        (["--set", "sr"], "INPUT=VALUE"),
        (["--set", "speed=2"], "no input 'speed'"),
        (["--keep-inputs"], "--keep-inputs without --set"),
    ],
)
def test_what_does_not_fit_is_one_line(
    model: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = run(capsys, "optimize", model, "-o", tmp_path / "out.onnx", *options)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "out.onnx").exists()


def _data(folder: Path, rate: int) -> Path:
    path = folder / f"{rate}.npz"
    np.savez(path, x=np.ones((8, 4), np.float32), sr=np.array(rate))
    return path
