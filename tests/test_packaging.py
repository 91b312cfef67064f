"""What is shipped, and that importing it stays light."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("onnxruntime", "onnx_ir", "torch", "plotly", "optuna", "onnx", "onnxscript", "numpy")


def test_packages_equals_the_folders() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    roots = {"onnxopt": "onnxopt", "passes": "onnxopt_passes", "models": "onnxopt_models"}
    found = set()
    for folder, name in roots.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((name, *parts)))
    assert listed == found


@pytest.mark.parametrize(
    "code", ["import onnxopt", "from onnxopt.cli import main; main(['--help'])"]
)
def test_importing_and_help_stay_light(code: str) -> None:
    probe = (
        "import sys, json, atexit\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n" + code
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stderr.strip().splitlines()[-1]))
    assert not loaded & set(HEAVY)


def test_help_answers_at_once() -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        command = [sys.executable, "-m", "onnxopt", "--help"]
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3


def test_no_file_is_too_long() -> None:
    folders = ("onnxopt", "passes", "models", "tests", "benchmarks")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    too_long = {str(p): n for p in files if (n := len(p.read_text().splitlines())) > 500}
    assert not too_long
