"""Bundles: complete or absent, tamper-evident, runnable with numpy and onnxruntime alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from onnxopt import store
from onnxopt.deploy import (
    BundleContent,
    GoldenSample,
    bundle,
    read_manifest,
    runner,
    verify_bundle,
    write_bundle,
)
from onnxopt.deploy.manifest import Agreement
from onnxopt.deploy.runner import agrees
from onnxopt.deploy.verify import disagreement
from onnxopt.errors import BackendMissingError, MismatchError, ModelError, UsageError
from onnxopt.exactness import Exactness

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,2] x) => (float[N,2] y) <float[2] w = {1, 2}> { y = Mul(x, w) }"""


def content(**changes: Any) -> BundleContent:
    x = np.array([[1, 2]], np.float32)
    values: dict[str, Any] = {
        "model": store.from_text(MODEL),
        "name": "toy",
        "candidate": "exact",
        "verdict": "fastest inside the budget",
        "verified": True,
        "exactness": Exactness.ROUNDING,
        "target": "x64-vnni",
        "provider": "cpu",
        "threads": 1,
        "source": "toy.onnx",
        "source_sha256": "0" * 64,
        "recipe": "clean",
        "steps": [],
        "samples": [GoldenSample({"x": x}, {"y": x * np.array([1, 2], np.float32)})],
        "measured": {"benchmark.json": {"p50_ms": 1.5}},
    }
    return BundleContent(**(values | changes))


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for another machine: the bundle is right where it was made."""
    monkeypatch.setattr(bundle, "verify_bundle", lambda folder: None)


def test_written_and_verified(tmp_path: Path) -> None:
    manifest = write_bundle(content(), tmp_path / "b")
    report = verify_bundle(tmp_path / "b")
    assert report.samples == 1
    assert report.unlisted == ()
    assert {e.path for e in manifest.files} == {
        "golden/000.inputs.npz",
        "golden/000.outputs.npz",
        "run.py",
        "toy.onnx",
    }
    assert [e.path for e in manifest.measured] == ["measured/benchmark.json"]
    assert read_manifest(tmp_path / "b") == manifest
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_same_content_same_bytes(tmp_path: Path) -> None:
    first = write_bundle(content(), tmp_path / "a")
    second = write_bundle(content(), tmp_path / "b")
    assert first == second


@pytest.mark.parametrize(
    "name", ["toy.onnx", "run.py", "golden/000.inputs.npz", "measured/benchmark.json"]
)
def test_a_changed_byte_is_seen(tmp_path: Path, name: str) -> None:
    write_bundle(content(), tmp_path / "b")
    path = tmp_path / "b" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256 differs"):
        verify_bundle(tmp_path / "b")


def test_missing_longer_and_unlisted_files(tmp_path: Path) -> None:
    write_bundle(content(), tmp_path / "b")
    (tmp_path / "b" / "extra").write_text("hello")
    assert verify_bundle(tmp_path / "b").unlisted == ("extra",)
    (tmp_path / "b" / "run.py").write_text("")
    with pytest.raises(ModelError, match="has 0 bytes"):
        verify_bundle(tmp_path / "b")
    (tmp_path / "b" / "run.py").unlink()
    with pytest.raises(ModelError, match="missing"):
        verify_bundle(tmp_path / "b")


def test_a_bundle_that_fails_its_own_check_is_not_written(tmp_path: Path) -> None:
    x = np.ones((1, 2), np.float32)
    with pytest.raises(MismatchError):
        write_bundle(content(samples=[GoldenSample({"x": x}, {"y": x})]), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_differ_here(tmp_path: Path, unchecked: None) -> None:
    x = np.ones((1, 2), np.float32)
    write_bundle(content(samples=[GoldenSample({"x": x}, {"y": x})]), tmp_path / "b")
    with pytest.raises(MismatchError, match="golden sample 0, output 'y': off by"):
        verify_bundle(tmp_path / "b")


@pytest.mark.parametrize("path", ["../model.onnx", "/etc/passwd", "a\\..\\b"])
def test_a_manifest_cannot_point_outside(tmp_path: Path, path: str) -> None:
    write_bundle(content(), tmp_path / "b")
    file = tmp_path / "b" / "manifest.json"
    raw = json.loads(file.read_text())
    raw["files"][0]["path"] = path
    file.write_text(json.dumps(raw))
    with pytest.raises(ModelError, match="leaves the bundle"):
        verify_bundle(tmp_path / "b")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 2}'])
def test_no_valid_manifest_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ModelError) as caught:
        verify_bundle(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_destination_is_never_lost(tmp_path: Path) -> None:
    target = tmp_path / "b"
    write_bundle(content(), target)
    with pytest.raises(UsageError, match="--force"):
        write_bundle(content(), target)
    write_bundle(content(candidate="int8"), target, force=True)
    assert read_manifest(target).candidate == "int8"
    other = tmp_path / "precious"
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="no bundle"):
        write_bundle(content(), other, force=True)
    with pytest.raises(UsageError, match="is a file"):
        write_bundle(content(), other / "thesis.txt", force=True)
    (other / "manifest.json").write_text('{"name": "my web app"}')
    with pytest.raises(ModelError, match="manifest"):
        write_bundle(content(), other, force=True)
    (target / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"also holds notes\.txt"):
        write_bundle(content(), target, force=True)
    assert (target / "notes.txt").read_text() == "mine"


def test_the_current_folder_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="current folder"):
        write_bundle(content(), Path())
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_folder_is_filled_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_bundle(content(), tmp_path / "link")
    assert (tmp_path / "real" / "manifest.json").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


@pytest.mark.parametrize(("name", "file"), [("a.b", "a.b.onnx"), ("a\\b/c", "a_b_c.onnx")])
def test_model_names_become_file_names(tmp_path: Path, name: str, file: str) -> None:
    assert write_bundle(content(name=name), tmp_path / "b").model == file


def test_strings_and_any_input_name_are_bundled(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (string[2] file) => (string[2] allow_pickle) { allow_pickle = Identity(file) }"""
    words = np.array(["ä", "b c"], object)
    sample = GoldenSample({"file": words}, {"allow_pickle": words})
    write_bundle(content(model=store.from_text(text), samples=[sample]), tmp_path / "b")
    assert verify_bundle(tmp_path / "b").samples == 1
    done = subprocess.run([sys.executable, tmp_path / "b" / "run.py"], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("value", [[np.ones(2)], np.ones(2, ml_dtypes.bfloat16)])
def test_what_numpy_cannot_hold_is_refused(tmp_path: Path, value: Any) -> None:
    x = np.ones((1, 2), np.float32)
    with pytest.raises(ModelError, match="in a bundle's samples"):
        write_bundle(content(samples=[GoldenSample({"x": x}, {"y": value})]), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["relative_l2", "elementwise"])
def test_nan_equals_nan_and_infinities_agree_by_sign(kind: Any) -> None:
    rule = Agreement(kind=kind, atol=1e-6, rtol=1e-6, limit=1e-6)
    a = np.array([1, np.nan, np.inf], np.float32)
    assert disagreement(a, a.copy(), rule) is None
    assert agrees(a, a.copy(), rule.model_dump())
    for other in (np.nan, -np.inf, 5.0):
        b = a.copy()
        b[2] = other
        assert disagreement(a, b, rule) is not None
        assert not agrees(a, b, rule.model_dump())


def test_run_py_needs_nothing_of_ours(tmp_path: Path) -> None:
    write_bundle(content(), tmp_path / "b")
    probe = (
        "import sys, runpy; sys.modules['onnxopt'] = None; sys.argv = ['run.py']\n"
        "runpy.run_path('b/run.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "1 samples, 0 outputs differ\n")


def test_run_py_runs_one_feed_and_times_it(tmp_path: Path) -> None:
    write_bundle(content(), tmp_path / "b")
    np.savez(tmp_path / "in.npz", x=np.full((3, 2), 2, np.float32))
    command = [sys.executable, "b/run.py", "--input", "in.npz", "--output", "out.npz"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with np.load(tmp_path / "out.npz") as archive:
        np.testing.assert_array_equal(archive["y"], [[2, 4]] * 3)
    command = [sys.executable, "b/run.py", "--benchmark"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("p50 ")


def test_a_bundle_for_openvino_runs_there(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime_ep_openvino")
    write_bundle(content(provider="openvino", target="x64-openvino-vnni"), tmp_path / "b")
    assert verify_bundle(tmp_path / "b").samples == 1
    command = [sys.executable, str(tmp_path / "b" / "run.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_precision_the_provider_lacks_is_said(tmp_path: Path, unchecked: None) -> None:
    write_bundle(content(precision="bf16"), tmp_path / "b")
    assert read_manifest(tmp_path / "b").precision == "bf16"
    with pytest.raises(BackendMissingError, match="bf16"):
        verify_bundle(tmp_path / "b")


def test_run_py_sees_a_difference(tmp_path: Path, unchecked: None) -> None:
    x = np.ones((1, 2), np.float32)
    write_bundle(content(samples=[GoldenSample({"x": x}, {"y": x})]), tmp_path / "b")
    command = [sys.executable, str(tmp_path / "b" / "run.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 4
    assert "output y differs" in done.stdout


def test_run_py_tells_cuda_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[bool] = []
    monkeypatch.setattr(runner.ort, "preload_dlls", lambda: loaded.append(True))
    assert runner.cuda_options({}) == {"use_tf32": "0", "prefer_nhwc": "0"}
    told = runner.cuda_options({"precision": "tf32", "layout": "nhwc"})
    assert told == {"use_tf32": "1", "prefer_nhwc": "1"}
    assert loaded == [True, True]
