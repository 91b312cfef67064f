"""Foreign code fails in its own ways: here its failures become one line."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from onnxopt.errors import BackendMissingError, ModelError, OnnxoptError

EXTRAS = {
    "torch": "torch",
    "safetensors": "torch",
    "sklearn": "sklearn",
    "skl2onnx": "sklearn",
    "transformers": "transformers",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "tf2onnx": "tensorflow",
}
"""Package → the extra that installs it."""

_LONGEST = 300


def reason_of(error: BaseException) -> str:
    """The kind of an error and the first words it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"{type(error).__name__}: {short}" if short else type(error).__name__


@contextmanager
def explained(what: str, todo: str = "") -> Iterator[None]:
    """Turn whatever foreign code raises into a ``ModelError`` that begins with ``what``.

    Raises:
        ModelError: It raised.
        BackendMissingError: It imports a framework that is not installed.
    """
    try:
        yield
    except OnnxoptError:
        raise
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise ModelError(f"{what}: {reason_of(error)}", todo=todo) from error
        raise BackendMissingError(
            f"{what}: the package {error.name} is not installed",
            todo=f"pip install 'onnxopt[{extra}]'",
        ) from error
    except (Exception, SystemExit) as error:  # foreign code may raise anything, and even quit
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
