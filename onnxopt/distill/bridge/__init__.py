"""An ONNX graph as a differentiable torch module."""

from onnxopt.distill.bridge.building import to_torch, unsupported
from onnxopt.distill.bridge.module import Bridge

__all__ = ["Bridge", "to_torch", "unsupported"]
