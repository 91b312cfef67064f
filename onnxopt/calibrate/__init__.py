"""Calibration: what values a model's tensors take on a data set."""

from onnxopt.calibrate.channels import ChannelStatistics
from onnxopt.calibrate.collecting import collect, tapped_values, tensor_sizes
from onnxopt.calibrate.detail import EVERYTHING, EXTREMA, Detail
from onnxopt.calibrate.grids import Grid, expected_error
from onnxopt.calibrate.histogram import Histogram
from onnxopt.calibrate.ranges import Range, RangeMethod, detail_for, value_range
from onnxopt.calibrate.statistics import FEWEST_SAMPLES, Statistics, TensorStatistics, merge
from onnxopt.calibrate.tapping import NOT_FLOAT

__all__ = [
    "EVERYTHING",
    "EXTREMA",
    "FEWEST_SAMPLES",
    "NOT_FLOAT",
    "ChannelStatistics",
    "Detail",
    "Grid",
    "Histogram",
    "Range",
    "RangeMethod",
    "Statistics",
    "TensorStatistics",
    "collect",
    "detail_for",
    "expected_error",
    "merge",
    "tapped_values",
    "tensor_sizes",
    "value_range",
]
