"""prune and inspect as a user runs them."""

from __future__ import annotations

from pathlib import Path

import cli
import numpy as np
import onnx_ir as ir
import pytest

import onnxopt
from onnxopt import api, store
from onnxopt.errors import UsageError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,16,6,6] x, float[32,16,3,3] w, float[32] b, float[32,10] f) => (float[N,10] y) {
      c = Conv (x, w, b)
      r = Relu (c)
      p = GlobalAveragePool (r)
      q = Flatten (p)
      y = MatMul (q, f) }"""
    loaded = store.from_text(text)
    rng = np.random.default_rng(0)
    for name, shape in {"w": (32, 16, 3, 3), "b": (32,), "f": (32, 10)}.items():
        (value,) = [v for v in loaded.graph.inputs if v.name == name]
        loaded.graph.inputs.remove(value)
        value.const_value = ir.tensor(rng.standard_normal(shape).astype(np.float32), name=name)
        loaded.graph.register_initializer(value)
    store.save(loaded, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x = np.random.default_rng(1).standard_normal((40, 16, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, labels=np.arange(40) % 10)
    return tmp_path / "d.npz"


MACS = 32 * 16 * 16 * 9 + 320


def test_magnitude_says_what_it_costs_and_saves(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = model.with_name("o.onnx")
    words = ("prune", model, "-o", output, "--data", data, "--kind", "magnitude", "--keep", "0.4")
    done = cli.run(capsys, *words, "--no-cache")
    assert done.code == 0, done.err
    assert "saves size under compression, not time" in done.out
    assert "not timed" in done.out and "file, zlib" in done.out
    assert "relative L2 error" in done.out and "misses the budget" in done.out
    done = cli.run(capsys, *words, "--json", "--force", "--max-error", "2", "--no-verify")
    assert done.code == 0, done.err
    before, after = done.json["before"], done.json["after"]
    weights = 32 * 16 * 9 + 320
    assert (before["zeros"], after["zeros"]) == (0, round(0.6 * weights))
    assert before["parameters"] == after["parameters"] == weights + 32
    assert before["macs"] == after["macs"] == MACS
    assert after["zlib_bytes"] < 0.7 * before["zlib_bytes"]
    assert after["size_bytes"] == done.json["saved"]["size_bytes"] == output.stat().st_size
    assert done.json["recipe"].count("prune-magnitude{amount=0.6}") == 1


def test_a_stated_budget_that_is_missed_is_exit_5_and_the_best_is_written(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = model.with_name("o.onnx")
    words = ("prune", model, "-o", output, "--data", data, "--kind", "nm", "--max-error", "1e-6")
    words = (*words, "--no-verify", "--keep", "0.5")
    done = cli.run(capsys, *words)
    assert done.code == 5
    assert "misses the budget" in done.error and "recover" in done.error
    found = cli.run(capsys, "inspect", output, "--sparsity", "--json").json["sparsity"]
    assert [(one["node"], one["pattern"], one["share"]) for one in found] == [
        ("c", "2:4", 0.5),
        ("y", "2:4", 0.5),
    ]


def test_a_budget_without_a_share_is_searched(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("prune", model, "-o", model.with_name("o.onnx"), "--data", data, "--kind", "magnitude")
    words = (*words, "--no-verify", "--max-error", "0.3")
    done = cli.run(capsys, *words)
    assert done.code == 0, done.err
    assert "inside the budget" in done.out and "again without searching: --recipe" in done.out
    first = cli.run(capsys, *words, "--json", "--force").json
    assert (first["verdict"], first["fits"]) == ("pruned", True)
    probes = first["search"]
    inside = [probe["keep"] for probe in probes if probe["fits"]]
    outside = [probe["keep"] for probe in probes if not probe["fits"]]
    assert max(outside) < min(inside) <= max(outside) + 0.025 + 1e-9
    assert len(probes) <= 6
    amount = float(first["recipe"].split("amount=")[1].split("}")[0])
    assert (1 - inside[-1]) / 2 - 0.025 <= amount <= 1 - inside[-1] + 1e-9
    again = cli.run(capsys, *words, "--json", "--force").json
    assert again["search"] == probes and again["saved"] == first["saved"]


def test_a_search_that_finds_nothing_leaves_the_model_whole(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = model.with_name("o.onnx")
    words = ("prune", model, "-o", output, "--data", data, "--max-error", "1e-6", "--no-verify")
    done = cli.run(capsys, *words)
    assert done.code == 0, done.err
    assert "verdict: kept-whole (no share is inside the budget; keep" in done.out
    (weight,) = [v for v in store.load(output).graph.initializers.values() if v.shape.rank() == 4]
    assert weight.shape == (32, 16, 3, 3)


def test_too_little_to_search_with_is_said(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "few.npz", x=np.ones((12, 16, 6, 6), np.float32))
    words = ("prune", model, "-o", tmp_path / "o.onnx", "--data", tmp_path / "few.npz")
    done = cli.run(capsys, *words, "--no-verify", "--max-error", "0.1")
    assert done.code == 3
    assert "samples to search with" in done.error and "--keep" in done.error


def test_without_data_nothing_is_claimed(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("prune", model, "-o", model.with_name("o.onnx"), "--kind", "magnitude", "--no-verify")
    done = cli.run(capsys, *words)
    assert done.code == 0, done.err
    assert "not compared: there is no data" in done.out
    done = cli.run(capsys, *words, "--force", "--max-error", "0.1")
    assert done.code == 3 and "budget without data" in done.error


def test_nothing_to_prune_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Neg(x) }'
    store.save(store.from_text(text), tmp_path / "m.onnx")
    words = ("prune", tmp_path / "m.onnx", "-o", tmp_path / "o.onnx", "--kind", "nm", "--no-verify")
    done = cli.run(capsys, *words)
    assert done.code == 0, done.err
    assert "no layer has float weights to prune" in done.out
    assert "nothing was pruned; not compared: there is no data" in done.out


def test_measuring_times_the_exact_and_the_pruned_model(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "prune",
        model,
        "-o",
        model.with_name("o.onnx"),
        "--data",
        data,
        "--measure",
        "--no-verify",
    )
    done = cli.run(capsys, *words, "--recipe", "prune-magnitude")
    assert done.code == 0, done.err
    assert "p50 ms" in done.out
    assert "the pruned model runs at" in done.out


def test_sizes_are_built_in_and_counted_at(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "prune",
        model,
        "-o",
        model.with_name("o.onnx"),
        "--kind",
        "magnitude",
        "--json",
        "--no-verify",
    )
    done = cli.run(capsys, *words, "--dim", "N=3")
    assert done.code == 0, done.err
    assert done.json["before"]["macs"] == done.json["after"]["macs"] == 3 * MACS


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--keep", "1.5"], 2, "keep 1.5; wanted a share between 0 and 1"),
        (["--kind", "nm", "--keep", "0.7"], 2, "N of 4, 8 or 16"),
        (["--recipe", "prune-magnitude", "--keep", "0.5"], 2, "--recipe next to"),
        (["--recipe", "prune-magnitud"], 2, "did you mean"),
        (["--kind", "magnitude", "--test-data", "x.npz"], 2, "--test-data without --data"),
        (["--kind", "magnitude", "--data", "x.npz"], 3, "x.npz"),
        (["--kind", "magnitude", "--max-drop", "1%"], 2, "needs a metric"),
    ],
)
def test_mistakes_are_one_line(
    model: Path, more: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli.run(capsys, "prune", model, "-o", model.with_name("o.onnx"), *more)
    assert (done.code, message in done.error) == (code, True), done.err
    assert not model.with_name("o.onnx").exists()


def test_default_recipes() -> None:
    assert api.default_prune() == "prune-channels{keep=0.7} | reconstruct-layers"
    assert api.default_prune("channels", 0.5, has_data=False) == "prune-channels{keep=0.5}"
    assert api.default_prune("magnitude", 0.7) == "prune-magnitude{amount=0.3}"
    assert api.default_prune("nm") == "prune-n-of-m{n=2, m=4}"
    assert api.default_prune("nm", 0.25) == "prune-n-of-m{n=1, m=4}"
    assert api.default_prune("nm", 0.375) == "prune-n-of-m{n=3, m=8}"
    with pytest.raises(UsageError):
        api.default_prune("magnitude", 0.0)


def test_the_model_given_is_never_changed(model: Path) -> None:
    loaded = onnxopt.load(model)
    before = store.serialize(loaded)
    options = onnxopt.RunOptions(verify=False)
    result = onnxopt.prune(loaded, recipe="prune-magnitude", options=options)
    assert store.serialize(loaded) == before
    assert result.footprints[1].zeros > result.footprints[0].zeros == 0
    again = onnxopt.prune(loaded, recipe=result.recipe, options=options)
    assert store.serialize(again.model) == store.serialize(result.model)


def test_inspect_counts(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = cli.run(capsys, "inspect", model)
    assert f"4,960 parameters, {MACS:,} MACs a run at N = 1 (set sizes with --dim)" in done.out
    done = cli.run(capsys, "inspect", model, "--dim", "N=2", "--json")
    assert done.json["macs"] == 2 * MACS and done.json["assumed"] == []
    assert done.json["sparsity"] is None
    done = cli.run(capsys, "inspect", model, "--sparsity")
    assert "32×16×3×3" in done.out and "0 of 4,928 weights in 2 layers are zero: 0.0 %" in done.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--text", "--sparsity"], "--text next to --sparsity"),
        (["--text", "--dim", "N=1"], "--text next to --dim"),
        (["--dim", "N=1,2"], "several sizes"),
        (["--dim", "Q=1"], "no open dimension 'Q'"),
    ],
)
def test_inspect_mistakes(
    model: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli.run(capsys, "inspect", model, *more)
    assert (done.code, message in done.error) == (2, True), done.err
