"""Times and runs a model in ONNX Runtime, by our own benchmark's worker and session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxopt.runtime import Session, SessionConfig, open_session
from onnxopt.timing.worker import Worker
from peers import arrays

_WORKER = Worker()
_OPEN: list[Session] = []


def load(**arguments: Any) -> dict[str, Any]:
    """Load for timing; see ``onnxopt.timing.worker``, as of the next two."""
    return _WORKER.answer({"task": "load", **arguments})


def warm(**arguments: Any) -> dict[str, Any]:
    """Run until the time is steady."""
    return _WORKER.answer({"task": "warm", **arguments})


def turn(**arguments: Any) -> dict[str, Any]:
    """Take a turn."""
    return _WORKER.answer({"task": "turn", **arguments})


def open_model(model: str, session: dict[str, Any]) -> None:
    """Load for outputs."""
    _OPEN[:] = [open_session(Path(model), SessionConfig(**session))]


def outputs(feeds: str, to: str) -> None:
    """Run every sample of a file and write what came out, by position."""
    found = [_OPEN[0].run(sample) for sample in arrays.load(feeds)]
    plain = [{str(n): value for n, value in enumerate(one.values())} for one in found]
    arrays.save(Path(to), plain)
