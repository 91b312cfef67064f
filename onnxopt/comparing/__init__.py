"""Compares models: agreement of outputs, fidelity, task metrics, equivalence in a child."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxopt.deferred import loader

if TYPE_CHECKING:
    from onnxopt.comparing.agreement import OutputAgreement, compare_outputs, compare_value
    from onnxopt.comparing.asking import CheckLimits
    from onnxopt.comparing.comparison import Comparison, Criteria, MetricChange
    from onnxopt.comparing.equivalence import Equivalence, check_equivalence
    from onnxopt.comparing.filed import Filed
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

__getattr__, __dir__ = loader(
    __name__,
    {
        "onnxopt.comparing.agreement": "OutputAgreement compare_outputs compare_value",
        "onnxopt.comparing.asking": "CheckLimits",
        "onnxopt.comparing.comparison": "Comparison Criteria MetricChange",
        "onnxopt.comparing.equivalence": "Equivalence check_equivalence",
        "onnxopt.comparing.filed": "Filed",
        "onnxopt.comparing.probe": "first_difference",
        "onnxopt.comparing.randomness": "random_outputs random_values",
        "onnxopt.comparing.running": "compare",
        "onnxopt.comparing.summary": "Accumulator OutputSummary",
        "onnxopt.comparing.unrolling": "Unroller",
        "onnxopt.comparing.workable": "workable_inputs",
    },
)
