"""Compares models: agreement of outputs, fidelity, task metrics, equivalence in a child."""

from onnxopt.comparing.agreement import OutputAgreement, compare_outputs, compare_value
from onnxopt.comparing.comparison import Comparison, Criteria, MetricChange
from onnxopt.comparing.equivalence import CheckLimits, Equivalence, Filed, check_equivalence
from onnxopt.comparing.probe import first_difference
from onnxopt.comparing.randomness import random_outputs, random_values
from onnxopt.comparing.running import compare
from onnxopt.comparing.summary import Accumulator, OutputSummary
from onnxopt.comparing.unrolling import Unroller
from onnxopt.comparing.workable import workable_inputs

__all__ = [
    "Accumulator",
    "CheckLimits",
    "Comparison",
    "Criteria",
    "Equivalence",
    "Filed",
    "MetricChange",
    "OutputAgreement",
    "OutputSummary",
    "Unroller",
    "check_equivalence",
    "compare",
    "compare_outputs",
    "compare_value",
    "first_difference",
    "random_outputs",
    "random_values",
    "workable_inputs",
]
