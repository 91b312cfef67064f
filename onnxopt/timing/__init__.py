"""Times models: every candidate in its own process, taking turns; and profiles them by node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxopt.deferred import loader

if TYPE_CHECKING:
    from onnxopt.timing.batching import batch_sizes, stacked
    from onnxopt.timing.config import BenchmarkConfig, Candidate
    from onnxopt.timing.measurement import BenchmarkResult, Latency, Measurement
    from onnxopt.timing.profile_result import GroupTime, NodeTime, Profile
    from onnxopt.timing.profiling import ProfileConfig, profile
    from onnxopt.timing.ratio import Median, Ratio
    from onnxopt.timing.run import benchmark

__all__ = [
    "BenchmarkConfig",
    "BenchmarkResult",
    "Candidate",
    "GroupTime",
    "Latency",
    "Measurement",
    "Median",
    "NodeTime",
    "Profile",
    "ProfileConfig",
    "Ratio",
    "batch_sizes",
    "benchmark",
    "profile",
    "stacked",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "onnxopt.timing.batching": "batch_sizes stacked",
        "onnxopt.timing.config": "BenchmarkConfig Candidate",
        "onnxopt.timing.measurement": "BenchmarkResult Latency Measurement",
        "onnxopt.timing.profile_result": "GroupTime NodeTime Profile",
        "onnxopt.timing.profiling": "ProfileConfig profile",
        "onnxopt.timing.ratio": "Median Ratio",
        "onnxopt.timing.run": "benchmark",
    },
)
