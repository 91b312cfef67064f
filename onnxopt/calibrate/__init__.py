"""Calibration: what values a model's tensors take on a data set."""

from onnxopt.calibrate.collecting import collect, tensor_sizes
from onnxopt.calibrate.histogram import Histogram
from onnxopt.calibrate.ranges import Range, RangeMethod, value_range
from onnxopt.calibrate.statistics import Statistics, TensorStatistics, merge
from onnxopt.calibrate.tapping import NOT_FLOAT

__all__ = [
    "NOT_FLOAT",
    "Histogram",
    "Range",
    "RangeMethod",
    "Statistics",
    "TensorStatistics",
    "collect",
    "merge",
    "tensor_sizes",
    "value_range",
]
