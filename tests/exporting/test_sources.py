"""Which adapter a source gets, and what is refused before any framework is imported."""

from __future__ import annotations

import builtins
import importlib.util
import sys
from pathlib import Path

import cli
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxopt import store
from onnxopt.errors import BackendMissingError, ModelError, OnnxoptError
from onnxopt.exporting import ExportOptions, export_model, is_plain_model
from onnxopt.exporting.failing import require

FACTORIES = """
import beside
import onnxscript
from onnxscript import FLOAT, opset18 as op

@onnxscript.script()
def gated(x: FLOAT["N", 4], gate: FLOAT["N", 4]) -> FLOAT["N", 4]:
    return x * op.Sigmoid(gate)

def raises():
    raise RuntimeError("the disk is on fire")

def number():
    return 3

def quits():
    raise SystemExit(0)

def chatty():
    print("epoch 1")
    return gated
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(FACTORIES)
    (tmp_path / "beside.py").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("gone.onnx", 3, "no file or folder"),
        ("gone/module.py:f", 3, "no file"),
        ("no_such_module:f", 3, "cannot import no_such_module: ModuleNotFoundError"),
        ("mine.py:nothing", 3, "has no 'nothing'"),
        ("mine.py:raises", 3, "mine.py:raises raised: RuntimeError: the disk is on fire"),
        ("mine.py:quits", 3, "mine.py:quits raised: SystemExit: 0"),
        ("mine.py:number", 3, "mine.py:number is a builtins.int; wanted module:factory"),
        ("model", 2, "source 'model' is not understood"),
        ("weights.safetensors", 3, "holds weights and no architecture"),
        ("odd.xyz", 2, "nothing is known about files of this kind"),
        ("empty", 3, "holds no model that is known"),
        ("model.joblib", 3, "--trust-pickle"),
    ],
)
def test_what_is_refused_is_one_line(
    folder: Path,
    source: str,
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    for name in ("weights.safetensors", "odd.xyz", "model.joblib"):
        (folder / name).write_bytes(b"\0")
    done = cli.run(capsys, "export", source, "-o", "out.onnx")
    assert (done.code, message in done.error) == (code, True), done.err
    assert not (folder / "out.onnx").exists()


def test_onnx_script_functions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"{folder}/mine.py:gated"
    done = cli.run(capsys, "export", source, "-o", folder / "out.onnx", "--json")
    assert done.code == 0, done.err
    assert done.json["source"] == "mine.py:gated"
    assert done.json["framework"].startswith("onnxscript")
    assert done.json["inputs"][0]["shape"] == ["N", 4]
    assert done.json["outputs"][0]["shape"] == ["N", 4]
    assert done.json["check"]["runs"] == 3
    model = store.load(folder / "out.onnx")
    assert model.metadata_props["onnxopt.export.source"] == "mine.py:gated"
    assert str(folder) not in str(dict(model.metadata_props))


def test_what_a_factory_prints_stays_out_of_the_document(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", f"{folder}/mine.py:chatty", "-o", folder / "out.onnx", "--json"]
    done = cli.run(capsys, *words)
    assert (done.code, done.json["source"]) == (0, "mine.py:chatty")
    assert "epoch 1" in done.err


def test_text_and_files_take_the_same_door(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """<ir_version: 7, opset_import: ["" : 12]>
    g (float[N,2] x) => (float[N,2] y) { y = Softmax(x) }"""
    (folder / "a.onnxtxt").write_text(text)
    done = cli.run(capsys, "export", folder / "a.onnxtxt", "-o", folder / "a.onnx")
    assert done.code == 0, done.err
    assert "opset 12 → 17" in done.out
    assert "IR version 7 → 8" in done.out
    again = cli.run(capsys, "export", folder / "a.onnx", "-o", folder / "b.onnx")
    assert "→" not in again.out
    assert is_plain_model(folder / "a.onnx") and not is_plain_model("mine.py:gated")


def test_an_opset_too_new_for_the_runtime_is_declared_older(tmp_path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", newest)])
    made = export_model(model, ExportOptions(target="x64-avx2"))
    assert made.opset <= 26


def test_a_dry_run_shows_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", f"{folder}/mine.py:gated", "-o", folder / "o.onnx", "--dry-run"]
    done = cli.run(capsys, *words, "--save-sample", folder / "s.npz")
    assert done.code == 0, done.err
    for part in ("gate: float32[N,4]", "dynamic  N", "opset 18", "nothing was written"):
        assert part in done.out
    assert not (folder / "o.onnx").exists() and not (folder / "s.npz").exists()


def test_samples_come_by_every_kind_of_spec(folder: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(5, 4)).astype(np.float32) for name in ("x", "gate")}
    np.savez(folder / "data.npz", **arrays)
    made = export_model(f"{folder}/mine.py:gated", ExportOptions(sample=f"{folder}/data.npz"))
    assert not made.is_random
    assert made.samples["x"].shape == (4, 4)
    np.testing.assert_array_equal(made.samples["x"], arrays["x"][:4])


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissingError, match=r"pip install 'onnxopt\[torch\]'") as caught:
        require("torch", "torch")
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("source", "extra"),
    [("net", "transformers"), ("m.tflite", "tensorflow"), ("m.keras", "tensorflow")],
)
def test_every_kind_of_source_names_its_extra(
    folder: Path,
    source: str,
    extra: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / "net").mkdir()
    (folder / "net" / "config.json").write_text("{}")
    for name in ("m.tflite", "m.keras"):
        (folder / name).write_bytes(b"")
    found = importlib.util.find_spec
    frameworks = ("torch", "transformers", "tensorflow")
    hidden = {"find_spec": lambda n, *a: None if n in frameworks else found(n, *a)}
    monkeypatch.setattr(importlib.util, "find_spec", hidden["find_spec"])
    done = cli.run(capsys, "export", folder / source, "-o", folder / "o.onnx")
    assert (done.code, f"pip install 'onnxopt[{extra}]'" in done.error) == (6, True), done.err


def test_a_factory_that_imports_what_is_missing_names_the_extra(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (folder / "net.py").write_text("import torch\nnet = 1\n")
    done = cli.run(capsys, "export", f"{folder}/net.py:net", "-o", folder / "o.onnx")
    assert done.code == 6, done.err
    assert "the package torch is not installed; pip install 'onnxopt[torch]'" in done.error


def test_a_pickle_is_not_even_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "model.pkl").write_bytes(b"\0")

    def forbidden(*arguments: object, **named: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(Path, "open", forbidden)
    monkeypatch.setattr(builtins, "open", forbidden)
    with pytest.raises(ModelError, match="can run code"):
        export_model(folder / "model.pkl")
    assert issubclass(ModelError, OnnxoptError)


def test_a_job_starts_from_what_export_takes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(40, 4)).astype(np.float32) for name in ("x", "gate")}
    np.savez(folder / "data.npz", **arrays)
    job = folder / "job.toml"
    job.write_text(
        '[source]\nmodel = "mine.py:gated"\nsample = "data.npz"\n'
        'opset = 19\n[output]\nmodel = "out.onnx"\n[data]\nsamples = "data.npz"\n'
    )
    done = cli.run(capsys, "run", job, "--json")
    assert done.code == 0, done.err
    assert done.json["source"]["source"] == "mine.py:gated"
    assert store.load(folder / "out.onnx").opset_imports[""] == 19
    job.write_text('source = "mine.py:raises"\n[output]\nmodel = "o.onnx"\n')
    failed = cli.run(capsys, "run", job)
    assert (failed.code, "the disk is on fire" in failed.error) == (3, True)
    job.write_text('[source]\nmodel = "mine.py:gated"\ncolour = 1\n[output]\nmodel = "o.onnx"\n')
    assert cli.run(capsys, "run", job).code == 2


@pytest.mark.slow
def test_a_job_goes_from_a_source_to_a_bundle(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(40, 4)).astype(np.float32) for name in ("x", "gate")}
    np.savez(folder / "data.npz", **arrays)
    (folder / "job.toml").write_text(
        'source = "mine.py:gated"\n[data]\nsamples = "data.npz"\n[output]\nbundle = "bundle"\n'
    )
    done = cli.run(capsys, "run", folder / "job.toml", "--no-cache")
    assert done.code == 0, done.err
    assert "exported mine.py:gated by onnxscript" in done.out
    assert cli.run(capsys, "verify", folder / "bundle").code == 0
