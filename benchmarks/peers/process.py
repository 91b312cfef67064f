"""A process in a peer's environment that is asked one thing at a time and can be killed."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import onnxopt
import onnxopt_models
import onnxopt_passes
from peers.failure import PeerFailure

_WORKER = Path(__file__).parent / "worker.py"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "Failed to allocate", "Unable to allocate")
_GRACE_S = 5.0


@dataclass(frozen=True)
class Place:
    """Where a job runs.

    Attributes:
        python: The interpreter.
        ours: Whether the job may import our packages; they come last on its path.
        folders: Further folders to import from, jobs too.
        memory_bytes: Most memory it may take; None for any.
        one_thread: Whether numeric libraries are held to one thread.
    """

    python: Path
    ours: bool = False
    folders: tuple[str, ...] = ()
    memory_bytes: int | None = None
    one_thread: bool = True

    def settings(self) -> dict[str, Any]:
        """What the worker is told at its start."""
        modules = (onnxopt, onnxopt_passes, onnxopt_models) if self.ours else ()
        packages = {module.__name__: str(Path(module.__path__[0])) for module in modules}
        return {
            "packages": packages,
            "metadata": self._metadata(),
            "folders": list(self.folders),
            "memory_bytes": self.memory_bytes,
        }

    def _metadata(self) -> dict[str, str]:
        """What tells our passes, for an environment other than this one; nothing for peers."""
        if not self.ours or self.python == Path(sys.executable):
            return {}
        found = importlib.metadata.distribution(onnxopt.__name__)
        return {name: found.read_text(name) or "" for name in ("METADATA", "entry_points.txt")}


@dataclass
class Worker:
    """One process with one job. Its answers are the job's; what they cost is kept beside them.

    Attributes:
        place: Where it runs.
        job: Module under ``peers.jobs``.
        seconds: Time the last task took inside the process, imports of its first task included.
        peak_rss_bytes: Most memory the process held by then.
    """

    place: Place
    job: str
    seconds: float = 0.0
    peak_rss_bytes: int = 0
    _answers: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # for what it drops
        settings = json.dumps(self.place.settings())
        environment = os.environ | (_ONE_THREAD if self.place.one_thread else {})
        self._process = subprocess.Popen(
            [str(self.place.python), "-I", str(_WORKER), self.job, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env=environment,
            cwd=self._folder.name,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, task: str, timeout_s: float, /, **arguments: Any) -> Any:
        """Send a task (``import`` does nothing but that) and wait for its answer.

        Raises:
            PeerFailure: It raised, crashed or took too long; after the latter two it is gone.
        """
        started = time.monotonic()
        self._send({"task": task, **arguments})
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.kill()
            spent = time.monotonic() - started
            raise PeerFailure("too slow", f"not done after {spent:.0f} s") from None
        if not line:
            self._answers.put(line)  # for whoever asks again
            raise self._ended()
        reply = json.loads(line)
        self.seconds, self.peak_rss_bytes = reply["seconds"], reply["peak_rss_bytes"]
        if "error" in reply:
            raise _failure(reply["error"])
        return reply.get("answer")

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process at once, with whatever it started and left behind, and reap it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """End the process: by closing its input, and by force where that does not help."""
        with contextlib.suppress(OSError, ValueError):
            if self._process.stdin:
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        self.kill()
        self._errors.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *rest: object) -> None:
        self.close()

    def _send(self, message: dict[str, Any]) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise RuntimeError("subprocess gave no pipe")
        with contextlib.suppress(OSError, ValueError):  # the missing answer tells that it is gone
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()

    def _read(self) -> None:
        with contextlib.suppress(ValueError):
            for line in self._process.stdout or ():
                self._answers.put(line)
        self._answers.put("")

    def _ended(self) -> PeerFailure:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        self.kill()
        code = self._process.returncode
        said = self._last_line()
        if code == -signal.SIGKILL or any(word in said for word in _OUT_OF_MEMORY):
            return PeerFailure("too much memory", said)
        if code < 0:
            return PeerFailure("crash", f"{signal.Signals(-code).name}: {said}")
        return PeerFailure("crash", f"ended with code {code}: {said}")

    def _last_line(self) -> str:
        with contextlib.suppress(ValueError):
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
            if lines:
                return lines[-1][:300]
        return "it said nothing"


def _failure(error: dict[str, str]) -> PeerFailure:
    text = f"{error['kind']}: {error['text'].strip() or 'no message'}"
    if any(word in text for word in _OUT_OF_MEMORY):
        return PeerFailure("too much memory", text)
    return PeerFailure("exception", text)
