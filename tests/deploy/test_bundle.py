"""Bundles: complete or absent, tamper-evident, runnable with numpy and onnxruntime alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxopt import store
from onnxopt.deploy import BundleContent, GoldenSample, read_manifest, verify_bundle, write_bundle
from onnxopt.errors import MismatchError, ModelError, UsageError
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


def test_outputs_that_differ_here(tmp_path: Path) -> None:
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


def test_run_py_sees_a_difference(tmp_path: Path) -> None:
    x = np.ones((1, 2), np.float32)
    write_bundle(content(samples=[GoldenSample({"x": x}, {"y": x})]), tmp_path / "b")
    command = [sys.executable, str(tmp_path / "b" / "run.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 4
    assert "output y differs" in done.stdout
