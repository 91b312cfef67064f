"""Runs models in ONNX Runtime: the only importer of it."""

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
