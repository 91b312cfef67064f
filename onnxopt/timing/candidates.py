"""What is timed, with a name of its own and in a form that another process understands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeGuard

from onnxopt.errors import UsageError
from onnxopt.runtime import SessionConfig
from onnxopt.timing.config import Candidate, Model

WORKER = "onnxopt.timing.worker"
_IN_MEMORY = "(in memory)"


def named(candidates: Sequence[Candidate | Model]) -> list[Candidate]:
    """The candidates, each with a name.

    Raises:
        UsageError: there is none, or two were given one name.
    """
    if not candidates:
        raise UsageError("no model to time", "at least one")
    found = [_with_name(candidate, n) for n, candidate in enumerate(candidates)]
    names = [candidate.name for candidate in found]
    if len(set(names)) == len(names):
        return found
    if any(isinstance(c, Candidate) and c.name for c in candidates):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two candidates are called {twice!r}", "a name of its own for each")
    return [Candidate(c.model, f"{c.name}#{n + 1}", c.session) for n, c in enumerate(found)]


def shown(model: Model) -> str:
    """How results call a model: by its file as it was given."""
    return str(model) if _is_file(model) else _IN_MEMORY


def jsonable(session: SessionConfig) -> dict[str, Any]:
    """The fields of a session's config as JSON holds them."""
    fields = asdict(session).items()
    return {key: str(value) if isinstance(value, Path) else value for key, value in fields}


def _with_name(candidate: Candidate | Model, number: int) -> Candidate:
    if not isinstance(candidate, Candidate):
        candidate = Candidate(candidate)
    if candidate.name:
        return candidate
    model = candidate.model
    name = Path(model).name if _is_file(model) else f"model {number + 1}"
    return Candidate(model, name, candidate.session)


def _is_file(model: Model) -> TypeGuard[Path | str]:
    return isinstance(model, Path | str)
