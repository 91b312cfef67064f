"""A peer answers, raises, crashes, hangs or takes too much memory: each is told apart."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from peers.failure import PeerFailure
from peers.process import Place, Worker

FAKE = """
import os, signal, sys, time

def greet(name):
    print("chatter that must not reach the parent")
    return f"hello {name}"

def fail():
    raise ValueError("no such op")

def leave():
    sys.exit("good bye")

def crash():
    os.kill(os.getpid(), signal.SIGSEGV)

def fork():
    child = os.fork()
    if child == 0:
        time.sleep(60)
    open("dropped", "w").close()
    return [child, os.getcwd()]

def hang():
    time.sleep(60)

def swell():
    return len(bytearray(2_000_000_000))
"""


def is_running(process: int) -> bool:
    """Whether it is there, and more than an entry that nobody has reaped yet."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    (tmp_path / "fake.py").write_text(FAKE)
    place = Place(Path(sys.executable), folders=(str(tmp_path),), memory_bytes=500_000_000)
    with Worker(place, "fake") as found:
        yield found


def test_answers_and_what_they_cost(worker: Worker) -> None:
    assert worker.ask("import", 10) is None
    assert worker.ask("greet", 10, name="you") == "hello you"
    assert worker.seconds >= 0
    assert worker.peak_rss_bytes > 1_000_000


@pytest.mark.parametrize(
    ("task", "text"), [("fail", "ValueError: no such op"), ("leave", "SystemExit: good bye")]
)
def test_an_exception_leaves_the_process_alive(worker: Worker, task: str, text: str) -> None:
    with pytest.raises(PeerFailure) as caught:
        worker.ask(task, 10)
    assert (caught.value.kind, caught.value.text) == ("exception", text)
    assert worker.is_alive
    assert worker.ask("greet", 10, name="again") == "hello again"


def test_a_crash_names_its_signal(worker: Worker) -> None:
    with pytest.raises(PeerFailure, match="crash: SIGSEGV"):
        worker.ask("crash", 10)
    assert not worker.is_alive
    with pytest.raises(PeerFailure, match="crash"):
        worker.ask("greet", 10, name="nobody")


def test_who_takes_too_long_is_killed(worker: Worker) -> None:
    worker.ask("import", 10)
    with pytest.raises(PeerFailure, match="too slow"):
        worker.ask("hang", 0.2)
    assert not worker.is_alive


def test_nothing_stays_behind(worker: Worker) -> None:
    child, folder = worker.ask("fork", 10)
    worker.close()
    assert not Path(folder).exists()
    deadline = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits data this way")
def test_too_much_memory_is_said_so(worker: Worker) -> None:
    with pytest.raises(PeerFailure, match="too much memory"):
        worker.ask("swell", 10)
