"""The process that loads and runs one candidate; started by ``Child``, told by lines of JSON."""

from __future__ import annotations

import gc
import json
import math
import os
import queue
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from onnxopt.errors import OnnxoptError
from onnxopt.runtime import Session, SessionConfig, SessionInfo, open_session
from onnxopt.timing.energy import EnergyMeter
from onnxopt.timing.feeds import load_feeds
from onnxopt.timing.memory import peak_rss_bytes
from onnxopt.timing.trace import read_trace

_WINDOW = 5
_STEADY = 0.03
_SETTLING_PASSES = 2
_MOST_PASSES = 2000


class Worker:
    """One loaded candidate. A pass runs each of the inputs once."""

    def __init__(self) -> None:
        self._model = Path()
        self._config = SessionConfig()
        self._samples: list[dict[str, Any]] = []
        self._session: Session | None = None
        self._load_ms = 0.0
        self._calls: list[Callable[[], object]] = []
        self._idle_since = (0.0, 0.0)
        self._energy = EnergyMeter()

    def load(self, model: str, feeds: str, session: Mapping[str, Any]) -> dict[str, Any]:
        """Load the model and run it once."""
        self._model, self._config = Path(model), SessionConfig(**session)
        self._samples = load_feeds(Path(feeds))
        base = peak_rss_bytes()
        info = self._open()
        started = time.perf_counter()
        self._calls[0]()
        first_ms = (time.perf_counter() - started) * 1e3
        gc.disable()
        return {"first_ms": first_ms, "base_rss_bytes": base, "info": asdict(info)}

    def warm(self, least_runs: int, most_seconds: float) -> dict[str, Any]:
        """Run until two neighbouring windows of passes have medians within 3 %."""
        passes: list[float] = []
        deadline = time.perf_counter() + most_seconds
        least = max(math.ceil(least_runs / len(self._calls)), 1)
        while len(passes) < least or (
            not _is_steady(passes) and time.perf_counter() < deadline and len(passes) < _MOST_PASSES
        ):
            passes.append(sum(self._pass_ms()))
        return {
            "runs": len(passes) * len(self._calls),
            "steady": _is_steady(passes),
            "pass_ms": statistics.median(passes[-_WINDOW:]),
            "peak_rss_bytes": peak_rss_bytes(),
        }

    def turn(self, passes: int, reload: bool) -> dict[str, Any]:
        """Load anew where asked, run unmeasured until caches and buffers are set up, then time."""
        if reload:
            self._open()
        for _ in range(_SETTLING_PASSES):
            self._pass_ms()
        joules = self._energy.joules()
        wall, cpu = time.perf_counter(), time.process_time()
        samples = [ms for _ in range(passes) for ms in self._pass_ms()]
        return {
            "samples_ms": samples,
            "wall_s": time.perf_counter() - wall,
            "cpu_s": time.process_time() - cpu,
            "joules": None if joules is None else (self._energy.joules() or 0.0) - joules,
            "load_ms": self._load_ms,
        }

    def profile(self, folder: str, passes: int) -> dict[str, Any]:
        """Load anew and time without ONNX Runtime's profiler, then load anew and time with it."""
        plain = self.turn(passes, reload=True)["samples_ms"]
        self._open(replace(self._config, profile_prefix=Path(folder) / "trace"))
        for _ in range(_SETTLING_PASSES + passes):
            self._pass_ms()
        if self._session is None:
            raise RuntimeError("no session")
        path = self._session.end_profiling()
        count = len(self._calls)
        trace = read_trace(path, (_SETTLING_PASSES + passes) * count, _SETTLING_PASSES * count)
        path.unlink()
        return {
            "plain_ms": plain,
            "run_ms": trace.run_ms,
            "kernels": [[asdict(k), asdict(done)] for k, done in trace.kernels.items()],
            "events": trace.events,
        }

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Do one task; adds what the process used while it waited for it."""
        wall, cpu = time.perf_counter(), time.process_time()
        idle = {"idle_wall_s": wall - self._idle_since[0], "idle_cpu_s": cpu - self._idle_since[1]}
        arguments = {key: value for key, value in message.items() if key != "task"}
        tasks: Mapping[str, Callable[..., dict[str, Any]]] = {
            "load": self.load,
            "warm": self.warm,
            "turn": self.turn,
            "profile": self.profile,
        }
        result = tasks[message["task"]](**arguments)
        self._idle_since = (time.perf_counter(), time.process_time())
        return {**idle, **result}

    def _open(self, config: SessionConfig | None = None) -> SessionInfo:
        """Load the model; one loaded before is freed first, so that memory holds it once."""
        self._calls = []
        if self._session is not None:
            self._session.close()
        self._session = open_session(self._model, config or self._config)
        self._calls = [self._session.prepare(sample) for sample in self._samples]
        self._load_ms = self._session.info.load_ms
        return self._session.info

    def _pass_ms(self) -> list[float]:
        spent = []
        for call in self._calls:
            started = time.perf_counter()
            call()
            spent.append((time.perf_counter() - started) * 1e3)
        return spent


def main() -> None:
    """Answer tasks from standard input until it closes."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a provider prints must not mix with the answers
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin, tasks), daemon=True).start()
    worker = Worker()
    while True:
        try:
            reply = worker.answer(json.loads(tasks.get()))
        except OnnxoptError as error:
            reply = {"error": _report(error)}
        channel.write(json.dumps(reply) + "\n")
        channel.flush()


def _listen(source: TextIO, tasks: queue.SimpleQueue[str]) -> None:
    """Pass lines on; when the parent is gone, end even in the middle of a run."""
    for line in source:
        tasks.put(line)
    os._exit(0)


def _is_steady(passes: list[float]) -> bool:
    if len(passes) < 2 * _WINDOW:
        return False
    before = statistics.median(passes[-2 * _WINDOW : -_WINDOW])
    after = statistics.median(passes[-_WINDOW:])
    return abs(after - before) <= _STEADY * before


def _report(error: OnnxoptError) -> dict[str, str]:
    parts = {"found": error.found, "wanted": error.wanted, "todo": error.todo}
    return {"kind": type(error).__name__, **parts}


if __name__ == "__main__":
    main()
