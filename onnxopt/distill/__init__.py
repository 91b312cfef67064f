"""Recovery by training: ONNX models as differentiable torch modules.

The only room besides ``onnxopt.export`` that imports torch, and that only when a name below is
used.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from onnxopt.errors import BackendMissingError

if TYPE_CHECKING:
    from onnxopt.distill.bridge import Bridge, to_torch, unsupported

__all__ = ["Bridge", "to_torch", "unsupported"]

_HOMES = {
    "Bridge": "onnxopt.distill.bridge",
    "to_torch": "onnxopt.distill.bridge",
    "unsupported": "onnxopt.distill.bridge",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if importlib.util.find_spec("torch") is None:
        raise BackendMissingError(
            "training on the ONNX graph needs torch, which is not installed",
            todo="pip install 'onnxopt[torch]'",
        )
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
