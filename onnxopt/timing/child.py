"""A worker process that is asked one thing at a time and never outlives its parent's interest."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Self

from onnxopt import errors
from onnxopt.errors import LimitError, ModelError, OnnxoptError

_START = (
    "import sys; sys.path[:] = sys.argv[1].split(chr(10)); "
    "from onnxopt.startup import prepare_process; prepare_process(); "
    "from {0} import main; main()"
)
_GRACE_S = 5.0


class Child:
    """A process that answers each line of JSON on its input with one on its output.

    It runs isolated (no current folder, no ``PYTHON…`` variables) but with this process's module
    path, in a session of its own, so that an interrupt reaches only the parent, which ends it.

    Args:
        module: Module whose ``main()`` the process runs.
        label: How messages call what it works on.
    """

    def __init__(self, module: str, label: str) -> None:
        self._label = label
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START.format(module), "\n".join(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("subprocess gave no pipes")
        self._input, self._output = self._process.stdin, self._process.stdout
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, task: str, timeout_s: float, /, **arguments: Any) -> dict[str, Any]:
        """Send a task and wait for its answer.

        Raises:
            OnnxoptError: the error the worker reported, of the same class.
            LimitError: no answer in time, or the system killed the process.
            ModelError: the process crashed.
        """
        started = time.monotonic()
        self._send({"task": task, **arguments})
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.kill()
            spent = time.monotonic() - started
            raise LimitError(
                f"{self._label}: {task} not done after {spent:.0f} s",
                f"at most {timeout_s:.0f} s",
                "raise the timeout or use a smaller input",
            ) from None
        if not line:
            self._answers.put(line)  # for whoever asks again
            raise self._ended(task)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise _rebuilt(self._label, answer["error"])
        return answer

    def close(self) -> None:
        """End the process: by closing its input, and by force where that does not help."""
        with contextlib.suppress(OSError, ValueError):
            self._input.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()
        self._reader.join(_GRACE_S)
        if not self._reader.is_alive():
            self._output.close()
        self._errors.close()

    def kill(self) -> None:
        """End the process at once and reap it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self.kill()
        self.close()

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the missing answer tells that it is gone
            self._input.write(json.dumps(message) + "\n")
            self._input.flush()

    def _read(self) -> None:
        for line in self._output:
            self._answers.put(line)
        self._answers.put("")

    def _ended(self, task: str) -> OnnxoptError:
        with contextlib.suppress(subprocess.TimeoutExpired):  # its output closes a little earlier
            self._process.wait(_GRACE_S)
        self.kill()
        code = self._process.returncode
        if code >= 0:
            return OnnxoptError(
                f"{self._label}: {task} ended with code {code}: {self._last_line()}"
            )
        name = _signal_name(-code)
        if name == "SIGKILL":
            return LimitError(
                f"{self._label}: the system killed its process during {task} ({name})",
                todo="most likely it ran out of memory: use a smaller model or input",
            )
        return ModelError(f"{self._label} crashes ONNX Runtime during {task} ({name})")

    def _last_line(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _rebuilt(label: str, report: dict[str, str]) -> OnnxoptError:
    """The worker's error, of its own class where the library has it."""
    kind = getattr(errors, report["kind"], OnnxoptError)
    return kind(f"{label}: {report['found']}", report["wanted"], report["todo"])
