from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from onnxopt import errors
from onnxopt.timing.child import Child

WORKER = """
import json, os, signal, sys, time
def main():
    for line in sys.stdin:
        task = json.loads(line)["task"]
        if task == "echo":
            print(line, end="", flush=True)
        elif task == "data-error":
            error = {"kind": "DataError", "found": "f", "wanted": "w", "todo": "t"}
            print(json.dumps({"error": error}), flush=True)
        elif task == "raise":
            raise KeyError("some bug")
        elif task == "hang":
            time.sleep(600)
        else:
            os.kill(os.getpid(), getattr(signal, task))
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    (tmp_path / "odd_worker.py").write_text(WORKER)
    monkeypatch.syspath_prepend(tmp_path)
    with Child("odd_worker", "m.onnx") as started:
        yield started
    assert not psutil.Process().children(recursive=True)


def test_a_task_and_its_answer(child: Child) -> None:
    assert child.ask("echo", 20, size=3) == {"task": "echo", "size": 3}


def test_a_reported_error_comes_back_as_its_own_class(child: Child) -> None:
    with pytest.raises(errors.DataError, match=r"m.onnx: f; wanted w; t"):
        child.ask("data-error", 20)
    assert child.ask("echo", 20)["task"] == "echo"


def test_a_crash_names_the_model_and_the_signal(child: Child) -> None:
    with pytest.raises(errors.ModelError, match=r"m.onnx crashes .* during SIGSEGV \(SIGSEGV\)"):
        child.ask("SIGSEGV", 20)
    with pytest.raises(errors.ModelError, match="SIGSEGV"):  # asked again: no hang
        child.ask("echo", 20)


def test_a_kill_by_the_system_is_a_limit(child: Child) -> None:
    with pytest.raises(errors.LimitError, match=r"m.onnx: the system killed .* out of memory"):
        child.ask("SIGKILL", 20)


def test_a_bug_in_the_worker_shows_its_last_line(child: Child) -> None:
    with pytest.raises(errors.OnnxoptError, match=r"m.onnx: .* code 1: KeyError: 'some bug'"):
        child.ask("raise", 20)


def test_no_answer_in_time_is_a_limit(child: Child) -> None:
    with pytest.raises(errors.LimitError, match=r"m.onnx: hang not done after 1 s; wanted at most"):
        child.ask("hang", 0.5)


def test_a_child_ends_with_its_parent_even_in_the_middle_of_a_run(tmp_path: Path) -> None:
    parent = """
import os, sys, numpy as np
from onnxopt.timing.child import Child
from onnxopt.timing.feeds import save_feeds
child = Child("onnxopt.timing.worker", "m")
print(child._process.pid, flush=True)
save_feeds(__import__("pathlib").Path(sys.argv[2]), [{"x": np.ones((512, 512), np.float32)}])
child.ask("load", 60, model=sys.argv[1], feeds=sys.argv[2], session={})
child._send({"task": "turn", "passes": 10**9, "reload": False})
os._exit(1)
"""
    from onnx import parser

    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[512,512] x) => (float[512,512] y)'
        "{ y = MatMul(x, x) }"
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    path = "\n".join(sys.path)
    start = f"import sys; sys.path[:] = {path!r}.split(chr(10))\n{parent}"
    done = subprocess.run(
        [sys.executable, "-c", start, str(tmp_path / "m.onnx"), str(tmp_path / "f.npz")],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    pid = int(done.stdout)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
