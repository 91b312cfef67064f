"""The one place that imports ONNX Runtime, and what it says when something goes wrong."""

from __future__ import annotations

import contextlib
import io
from types import ModuleType

from onnxopt.errors import BackendMissingError

SILENT = 4
"""Log severity: fatal only. Every error comes back as an exception, so the log adds nothing."""


def onnxruntime() -> ModuleType:
    """ONNX Runtime, with its default logger silenced (providers that fail to start write there).

    Raises:
        BackendMissingError: it is not installed or does not import.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise BackendMissingError(
            f"onnxruntime does not import ({error})", todo="pip install onnxruntime"
        ) from error
    ort.set_default_logger_severity(SILENT)
    module: ModuleType = ort
    return module


def runtime_errors() -> tuple[type[Exception], ...]:
    """Every class the binding raises: its own share no base but ``Exception``."""
    from onnxruntime.capi import onnxruntime_pybind11_state as binding

    own = [kind for kind in vars(binding).values() if _is_exception(kind)]
    return (*own, RuntimeError, ValueError, TypeError, MemoryError)


def preload_cuda() -> None:
    """Let ONNX Runtime load the CUDA libraries that come as Python packages.

    It prints what it does not find; the provider's own failure tells that better.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime().preload_dlls()


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)
