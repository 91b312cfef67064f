"""Times models: every candidate in its own process, taking turns."""

from onnxopt.timing.config import BenchmarkConfig, Candidate
from onnxopt.timing.measurement import BenchmarkResult, Latency, Measurement
from onnxopt.timing.ratio import Ratio
from onnxopt.timing.run import benchmark

__all__ = [
    "BenchmarkConfig",
    "BenchmarkResult",
    "Candidate",
    "Latency",
    "Measurement",
    "Ratio",
    "benchmark",
]
