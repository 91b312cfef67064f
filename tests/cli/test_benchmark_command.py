"""``onnxopt benchmark`` as a user runs it; no assertion on how long anything takes."""

from __future__ import annotations

import json
from pathlib import Path

import cli
import numpy as np
import pytest

from onnxopt import store
from onnxopt.runtime import available_providers

CNN = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4,H,8] x) => (float[N,4,H,8] y)
{ a = Exp (x)
  b = Neg (a)
  t = Transpose <perm = [0, 1, 3, 2]> (b)
  y = Transpose <perm = [0, 1, 3, 2]> (t) }"""
FAST = ("--rounds", "2", "--warmup", "1", "--no-cache", "--dim", "H=8")


def saved(path: Path, text: str = CNN) -> Path:
    store.save(store.from_text(text), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(tmp_path / "model.onnx")


def test_a_file_against_its_own_copy(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = saved(model.with_name("copy.onnx"))
    done = cli.run(capsys, "benchmark", model, copy, *FAST, "--rounds", "6")
    assert done.code == 0, done.err
    header = done.out.splitlines()[0]
    assert all(word in header for word in ("p50 ms", "p99 ms", "1/s", "first ms", "speed-up"))
    assert "6 rounds, spread" in done.out
    assert "cpu, 1 thread(s), fp32" in done.out


def test_json_holds_everything(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = cli.run(capsys, "benchmark", model, *FAST, "--warmup", "9", "--json")
    (one,) = done.json["measurements"]
    assert len(one["rounds_ms"]) == 2
    assert one["warmup_runs"] >= 9
    assert one["first_ms"] > 0 < one["inferences_per_s"]
    assert one["typical_ms"]["low"] <= one["typical_ms"]["value"] <= one["typical_ms"]["high"]
    assert one["batch"] == 1
    assert done.json["within"] is done.json["reached"] is None


def test_energy_is_shown_only_where_the_machine_tells_it(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from onnxopt.timing.energy import EnergyMeter

    header = cli.run(capsys, "benchmark", model, *FAST).out.splitlines()[0]
    assert (" J " in header) == (EnergyMeter().joules() is not None)


def test_rounds_go_on_until_the_interval_is_narrow_or_the_cap_is_reached(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = cli.run(capsys, "benchmark", model, *FAST, "--within", "99%", "--json").json
    assert (wide["reached"], wide["within"]) == (True, 0.99)
    assert len(wide["measurements"][0]["rounds_ms"]) >= 6
    capped = ("--within", "0.0001%", "--max-rounds", "7")
    done = cli.run(capsys, "benchmark", model, *FAST, *capped)
    assert done.code == 0
    assert "after 7 rounds, wanted" in done.err


def test_a_batch_of_made_up_items(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("benchmark", model, *FAST)
    (one,) = cli.run(capsys, *words, "--batch", "4", "--json").json["measurements"]
    assert one["batch"] == 4
    assert one["inferences_per_s"] == pytest.approx(4000 / one["typical_ms"]["value"])
    assert "4 items a run" in cli.run(capsys, *words, "--batch", "4").out
    clash = cli.run(capsys, *words, "--batch", "4", "--dim", "N=1")
    assert clash.code == 2
    assert "batch 4 and N=1 speak of one axis" in clash.error


def test_a_batch_of_stacked_samples(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, x=np.ones((3, 4, 8, 8), np.float32))
    words = ("benchmark", model, *FAST, "--data", data, "--batch", "5", "--json")
    assert cli.run(capsys, *words).json["measurements"][0]["batch"] == 5


def test_a_model_with_a_fixed_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fixed = saved(tmp_path / "fixed.onnx", CNN.replace("[N,", "[1,"))
    done = cli.run(capsys, "benchmark", fixed, *FAST, "--batch", "4")
    assert done.code == 2
    assert "wanted an input whose first axis is open" in done.error


def test_a_profile_by_kind_operator_and_node(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("benchmark", model, "--profile", "--dim", "H=8", "--no-cache")
    done = cli.run(capsys, *words, "--top", "1")
    assert done.code == 0, done.err
    assert "ms in kernels of" in done.out
    lines = done.out.splitlines()
    assert sum(line.startswith(("integer", "float", "conversion", "layout")) for line in lines) == 4
    operators = next(at for at, line in enumerate(lines) if line.startswith("operator"))
    nodes = next(at for at, line in enumerate(lines) if line.startswith("node"))
    assert nodes == operators + 2  # one row of --top
    (found,) = cli.run(capsys, *words, "--json").json["profiles"]
    assert {"Exp", "Neg"} <= {node["op"] for node in found["nodes"]}
    assert sum(kind["share"] for kind in found["kinds"]) == pytest.approx(1)


@pytest.mark.parametrize("more", [(), ("--profile",)])
def test_cuda_without_a_gpu_is_exit_6_and_one_line_that_says_why(
    model: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    if any(p.name == "cuda" and p.usable for p in available_providers()):
        pytest.skip("this machine has one")
    words = ("--provider", "cuda", "--dim", "H=8", "--no-cache", "-q")
    done = cli.run(capsys, "benchmark", model, *words, *more)
    assert done.code == 6
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("onnxopt: model.onnx: provider cuda ")
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in done.err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--within", "narrow"), "--within 'narrow'; wanted a percentage such as 3%"),
        (("--within", "0%"), "within=0.0; wanted a fraction"),
        (("--max-rounds", "9"), "--max-rounds does nothing without --within"),
        (("--top", "9"), "--top does nothing without --profile"),
        (("--profile", "--rounds", "9"), "--rounds does nothing with --profile"),
        (("--profile", "--within", "3%"), "--within does nothing with --profile"),
    ],
)
def test_options_without_meaning(
    model: Path, words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli.run(capsys, "benchmark", model, *words)
    assert done.code == 2
    assert reason in done.error


def test_help_explains_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(cli.run(capsys, "benchmark", "--help").out.split())
    for option in ("--warmup", "--rounds", "--within", "--max-rounds", "--batch", "--profile"):
        assert option in text
    assert json.dumps("Least number of runs before the first turn").strip('"') in text
