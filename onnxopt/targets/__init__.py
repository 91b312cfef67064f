"""Devices as data: which provider, which integer scheme, which kernels exist and what they gain."""

from onnxopt.targets.kernel import Cost, FloatKernel, IntegerType, Kernel, blocked
from onnxopt.targets.load import load_target, target_names
from onnxopt.targets.predicates import (
    Predicate,
    Verdict,
    predicate,
    predicate_words,
    product_of_sum,
)
from onnxopt.targets.target import INTEGERS, ChannelsLast, Int8Scheme, SessionOptions, Target

__all__ = [
    "INTEGERS",
    "ChannelsLast",
    "Cost",
    "FloatKernel",
    "Int8Scheme",
    "IntegerType",
    "Kernel",
    "Predicate",
    "SessionOptions",
    "Target",
    "Verdict",
    "blocked",
    "load_target",
    "predicate",
    "predicate_words",
    "product_of_sum",
    "target_names",
]
