"""Foreign code fails in its own ways: here its failures become one line."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from onnxopt.errors import BackendMissingError, ModelError, OnnxoptError

_LONGEST = 300


def reason_of(error: BaseException) -> str:
    """The kind of an error and the first words it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"{type(error).__name__}: {short}" if short else type(error).__name__


@contextmanager
def explained(what: str, todo: str = "") -> Iterator[None]:
    """Turn whatever foreign code raises into a ``ModelError`` that begins with ``what``."""
    try:
        yield
    except OnnxoptError:
        raise
    except Exception as error:  # foreign code may raise anything
        raise ModelError(f"{what}: {reason_of(error)}", todo=todo) from error


def require(extra: str, *packages: str) -> None:
    """Refuse where a package is missing that an extra installs.

    Raises:
        BackendMissingError: One is; the message names the command that installs it.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise BackendMissingError(
                f"this source needs the package {package}, which is not installed",
                todo=f"pip install 'onnxopt[{extra}]'",
            )
