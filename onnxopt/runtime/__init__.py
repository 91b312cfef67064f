"""Runs models in ONNX Runtime: the only importer of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxopt.deferred import loader

if TYPE_CHECKING:
    from onnxopt.runtime.config import Layout, OptLevel, Precision, SessionConfig, SessionInfo
    from onnxopt.runtime.machine import Environment, cpu_flags, environment
    from onnxopt.runtime.opening import check_config, open_session
    from onnxopt.runtime.providers import ProviderInfo, available_providers, is_gpu
    from onnxopt.runtime.session import Session
    from onnxopt.runtime.settings import usable_cores

__all__ = [
    "Environment",
    "Layout",
    "OptLevel",
    "Precision",
    "ProviderInfo",
    "Session",
    "SessionConfig",
    "SessionInfo",
    "available_providers",
    "check_config",
    "cpu_flags",
    "environment",
    "is_gpu",
    "open_session",
    "usable_cores",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "onnxopt.runtime.config": "Layout OptLevel Precision SessionConfig SessionInfo",
        "onnxopt.runtime.machine": "Environment cpu_flags environment",
        "onnxopt.runtime.opening": "check_config open_session",
        "onnxopt.runtime.providers": "ProviderInfo available_providers is_gpu",
        "onnxopt.runtime.session": "Session",
        "onnxopt.runtime.settings": "usable_cores",
    },
)
