"""Runs a module of ours in a child process under limits of time and memory."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil

_POLL_S = 0.02
_FREE_SHARE = 0.9
_MIB = 1 << 20


@dataclass(frozen=True)
class Ending:
    """How a child ended.

    Attributes:
        code: Its exit status; negative for a signal.
        stderr: The last line it wrote.
        limit: Which limit it was ended for, in words; empty where it ended by itself.
        todo: What to do about that.
    """

    code: int
    stderr: str = ""
    limit: str = ""
    todo: str = ""

    @property
    def reason(self) -> str:
        """Exit status or signal, with the last line it wrote."""
        if self.code < 0:
            return _signal_name(-self.code)
        return f"exit status {self.code}" + (f": {self.stderr}" if self.stderr else "")


Child = subprocess.Popen[bytes]


@contextlib.contextmanager
def started(arguments: Sequence[str]) -> Iterator[Child]:
    """Start ``python -m ARGUMENTS``; the child never outlives the block."""
    command = [sys.executable, "-P", "-m", "onnxopt.startup", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def run_limited(
    arguments: Sequence[str],
    timeout_s: float,
    memory_bytes: int | None = None,
    child: Child | None = None,
) -> Ending:
    """Run ``python -m ARGUMENTS`` and wait; the child never outlives this call.

    Args:
        arguments: Module and its arguments.
        timeout_s: Wall time.
        memory_bytes: Resident memory, looked at 50 times a second; None for 90 % of what is free.
        child: One that was started with them before; None starts it now.
    """
    allowed = memory_bytes or int(psutil.virtual_memory().available * _FREE_SHARE)
    if child is not None:
        return _watch(child, timeout_s, allowed)
    with started(arguments) as child:
        return _watch(child, timeout_s, allowed)


def _watch(child: subprocess.Popen[bytes], timeout_s: float, allowed: int) -> Ending:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            _, noise = child.communicate(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                return Ending(-signal.SIGTERM, limit=f"longer than {timeout_s:g} s")
            if _resident_bytes(child.pid) > allowed:
                return Ending(-signal.SIGTERM, limit=f"more than {allowed // _MIB} MiB of memory")
        else:
            lines = noise.decode(errors="replace").strip().splitlines()
            return Ending(child.returncode, lines[-1][:200] if lines else "")


def _resident_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it has just ended
        return 0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
