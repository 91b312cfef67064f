"""Counting what a model holds and does: weights, zeros, multiply-accumulates."""

from onnxopt.counting.layers import LayerWeight, layer_weights
from onnxopt.counting.macs import macs
from onnxopt.counting.model import ModelCount, NodeCount, count
from onnxopt.counting.sparsity import LayerSparsity, sparsity

__all__ = [
    "LayerSparsity",
    "LayerWeight",
    "ModelCount",
    "NodeCount",
    "count",
    "layer_weights",
    "macs",
    "sparsity",
]
