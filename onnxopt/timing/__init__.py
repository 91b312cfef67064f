"""Times models: every candidate in its own process, taking turns; and profiles them by node."""

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
