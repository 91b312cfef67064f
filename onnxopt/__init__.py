"""Give it a trained model, a little data and a budget; get back the fastest verified package.

The names below are the public interface, loaded on first use. Besides them only
``onnxopt.transform`` and ``onnxopt.errors`` are stable.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxopt.api import (
        Budget,
        ExportOptions,
        RunOptions,
        benchmark,
        compare,
        export,
        inspect,
        load,
        optimize,
        package,
        prune,
        quantize,
        recover,
        save,
        verify,
    )

__all__ = [
    "Budget",
    "ExportOptions",
    "RunOptions",
    "benchmark",
    "compare",
    "export",
    "inspect",
    "load",
    "optimize",
    "package",
    "prune",
    "quantize",
    "recover",
    "save",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("onnxopt.api"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
