"""Every command as a user runs it: what it prints, what it writes, its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import cli
import numpy as np
import pytest

from onnxopt import store

HARD_SWISH = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,2,8,8] x) => (float[N,2,8,8] y)
<float[2,2,3,3] w, float[2] scale = {2, 3}, float[2] shift = {1, -1}, float[2] mean = {0, 1},
 float[2] var = {1, 2}>
{ c = Conv <pads = [1, 1, 1, 1]> (x, w)
  b = BatchNormalization (c, scale, shift, mean, var)
  y = Relu (b) }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    loaded = store.from_text(
        HARD_SWISH.replace(
            "float[2,2,3,3] w,",
            "float[2,2,3,3] w = {" + ", ".join(f"0.{i % 9 + 1}" for i in range(36)) + "},",
        )
    )
    path = tmp_path / "model.onnx"
    store.save(loaded, path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    x = rng.standard_normal((40, 2, 8, 8), dtype=np.float32)
    np.savez(path, x=x, labels=np.arange(40) % 2)
    return path


def test_inspect(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = cli.run(capsys, "inspect", model)
    assert done.code == 0
    assert "x: float32[N,2,8,8]" in done.out
    assert "3 nodes" in done.out
    assert cli.run(capsys, "inspect", model, "--json").json["stats"]["nodes"] == 3
    assert "BatchNormalization" in cli.run(capsys, "inspect", model, "--text").out


def test_optimize_writes_what_it_verified(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.onnx"
    done = cli.run(capsys, "optimize", model, "-o", output, "--no-cache")
    assert done.code == 0, done.err
    assert "verified: 1 outputs agree" in done.out
    assert "not timed" in done.out
    assert "fuse-conv-bn: 1 applied" in done.err
    ops = [node.op_type for node in store.load(output).graph]
    assert "BatchNormalization" not in ops
    again = cli.run(capsys, "optimize", model, "-o", output, "--no-cache")
    assert again.code == 2
    assert "--force" in again.error


def test_optimize_json_is_one_document(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli.run(capsys, "optimize", model, "-o", tmp_path / "o.onnx", "--json")
    assert done.json["verdict"] == "optimized"
    assert any(step["applied"] for step in done.json["steps"])
    assert done.json["equivalence"]["agrees"] is True


def test_dry_run_writes_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "o.onnx"
    done = cli.run(capsys, "optimize", model, "-o", output, "--dry-run")
    assert done.code == 0
    assert "nothing was written" in done.out
    assert not output.exists()


def test_a_broken_pass_is_caught_named_and_nothing_written(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "o.onnx"
    broken = Path(__file__).parent / "broken.py"
    (tmp_path / "broken_pass.py").write_text(broken.read_text())
    import sys

    sys.path.insert(0, str(tmp_path))
    try:
        recipe = "fuse-conv-bn | broken_pass:FlipConv | eliminate-dead-nodes"
        done = cli.run(capsys, "optimize", model, "-o", output, "--recipe", recipe)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("broken_pass", None)
    assert done.code == 4
    assert "guilty: pass broken_pass:FlipConv" in done.error
    assert "first tensor that differs is" in done.error
    assert not output.exists()


def test_quantize_reports_what_it_costs(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "int8.onnx"
    recipe = "quantize-static{placement=all}"
    words = ("quantize", model, "-o", output, "--data", data, "--recipe", recipe)
    more = ("--max-error", "0.5", "--no-cache", "--no-measure", "--json")
    done = cli.run(capsys, *words, *more)
    assert done.code == 0, done.err
    assert done.json["verdict"] == "int8"
    assert 0 < done.json["comparison"]["fidelity"]["mean"] < 0.5
    ops = {node.op_type for node in store.load(output).graph}
    assert "QuantizeLinear" in ops


def test_quantize_keeps_float_where_the_budget_says_so(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "kept.onnx"
    words = ("quantize", model, "-o", output, "--data", data, "--max-error", "1e-9")
    done = cli.run(capsys, *words)
    assert done.code == 0
    assert "verdict: kept-float" in done.out
    ops = {node.op_type for node in store.load(output).graph}
    assert "QuantizeLinear" not in ops


def test_quantize_keeps_float_where_nothing_is_gained(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("quantize", model, "-o", tmp_path / "o.onnx", "--data", data)
    done = cli.run(capsys, *words)
    assert done.code == 0
    nothing = "kept-float (no quantizing step found anything worth its while; 1 of 1 nodes: "
    assert nothing in done.out
    assert "0 nodes are in integers" in done.out


def test_quantize_writes_int8_anyway_where_asked(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "int8.onnx"
    recipe = ("--recipe", "quantize-static{placement=all}", "--no-cache")
    words = ("quantize", model, "-o", output, "--data", data, *recipe, "--no-measure")
    done = cli.run(capsys, *words, "--int8-anyway", "--max-error", "1e-9")
    assert done.code == 5
    assert "misses the budget" in done.error
    assert "verdict: int8" in done.out
    assert "QuantizeLinear" in {node.op_type for node in store.load(output).graph}


def test_quantize_times_unless_told_not_to(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "int8.onnx"
    recipe = ("--recipe", "quantize-static{placement=all}", "--max-error", "0.5", "--no-cache")
    done = cli.run(capsys, "quantize", model, "-o", output, "--data", data, *recipe)
    assert done.code == 0, done.err
    assert "the speed of the exact float model" in done.out


def test_compare_judges_a_budget(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli.run(capsys, "compare", model, model, "--data", data, "--max-error", "0.1", "--json")
    assert done.code == 0
    assert done.json["samples"] == 40
    assert done.json["fidelity"]["mean"] == 0
    other = tmp_path / "other.onnx"
    loaded = store.load(model)
    loaded.graph[2].op_type = "Neg"
    store.save(loaded, other)
    done = cli.run(capsys, "compare", model, other, "--data", data, "--max-error", "0.1")
    assert done.code == 5
    assert "misses the budget" in done.error


def test_benchmark(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("benchmark", model, model, "--dim", "N=1", "--rounds", 3)
    done = cli.run(capsys, *words, "--json")
    assert done.code == 0, done.err
    first, second = done.json["measurements"]
    assert first["provider"] == "cpu" and first["threads"] == 1
    assert second["peak_rss_bytes"] > 1e6
    assert done.json["ratios"][0]["rounds"] == 3


def test_asking_for_a_missing_backend_is_exit_6(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli.run(capsys, "benchmark", model, "--provider", "cuda", "--dim", "N=1")
    if done.code != 0:  # a machine with a GPU times it
        assert done.code == 6
        assert "cuda" in done.error


def test_package_and_verify(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    done = cli.run(capsys, "package", model, "-o", bundle, "--data", data)
    assert done.code == 0, done.err
    done = cli.run(capsys, "verify", bundle)
    assert done.code == 0
    assert "golden samples are right" in done.out
    (bundle / "run.py").write_text("print('hello')")
    done = cli.run(capsys, "verify", bundle)
    assert done.code == 3


def test_run_does_what_the_job_says(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "job.toml"
    job.write_text(
        """
        source = "model.onnx"
        recipe = [{ pass = "fuse-conv-bn" }, { group = [{ pass = "eliminate-dead-nodes" }] }]
        [data]
        samples = "data.npz"
        [output]
        model = "out.onnx"
        """
    )
    done = cli.run(capsys, "run", job, "--json")
    assert done.code == 0, done.err
    assert done.json["model"]["recipe"] == "fuse-conv-bn | (eliminate-dead-nodes)"
    assert (tmp_path / "out.onnx").is_file()
    assert cli.run(capsys, "run", job).code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source = 1", "source"),
        ('source = "m.onnx"\nsauce = 1\n[output]\nmodel = "o"', "sauce"),
        ('source = "m.onnx"\n[output]\n', "nothing to write"),
        ("[", "TOML"),
    ],
)
def test_bad_jobs_are_usage_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    job = tmp_path / "job.toml"
    job.write_text(text)
    done = cli.run(capsys, "run", job)
    assert done.code == 2
    assert message in done.error


def test_passes_lists_and_explains(capsys: pytest.CaptureFixture[str]) -> None:
    done = cli.run(capsys, "passes")
    assert done.code == 0 and "fuse-conv-bn" in done.out
    done = cli.run(capsys, "passes", "quantize-static", "--json")
    assert "method" in [option["name"] for option in done.json["options"]]
    done = cli.run(capsys, "passes", "fuse-conv-bm")
    assert done.code == 2
    assert "did you mean 'fuse-conv-bn'" in done.error


def test_models_lists(capsys: pytest.CaptureFixture[str]) -> None:
    names = [m["id"] for m in cli.run(capsys, "models", "--json").json["model"]]
    assert "pp-ocr-rec" in names
    assert cli.run(capsys, "models", "no-such-model").code == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["optimize", "missing.onnx", "-o", "x.onnx"], 3),
        (["inspect", "missing.onnx"], 3),
        (["verify", "missing"], 3),
        (["optimize"], 2),
        (["nonsense"], 2),
        (["--version"], 0),
    ],
)
def test_exit_codes(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    done = cli.run(capsys, *words)
    assert done.code == code
    assert "Traceback" not in done.err


def test_very_verbose_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Traceback" in cli.run(capsys, "inspect", "missing.onnx", "-vv").err


def test_unknown_target_and_recipe_point_at_the_word(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "o.onnx"
    done = cli.run(capsys, "optimize", model, "-o", output, "--target", "toaster")
    assert done.code == 2 and "toaster" in done.error
    done = cli.run(capsys, "optimize", model, "-o", output, "--recipe", "fuse-conv-bn | oops")
    assert done.code == 2 and "column 16" in done.error


def test_same_input_same_bytes(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        assert cli.run(capsys, "optimize", model, "-o", path).code == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_json_documents_parse_for_every_reader(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = cli.run(capsys, "inspect", model, "--json").out
    json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_models_eval_scores_a_file_on_its_task(capsys: pytest.CaptureFixture[str]) -> None:
    done = cli.run(capsys, "models", "eval", "digits", "--samples", 60, "--json")
    assert done.code == 0, done.err
    assert 0.9 < done.json["score"]["mean"] <= 1
    assert done.json["score"]["samples"] == 60
    assert cli.run(capsys, "models", "eval").code == 2
    assert cli.run(capsys, "models", "eval", "silero-vad-ifless").code == 2
