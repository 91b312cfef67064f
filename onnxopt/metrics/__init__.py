"""Task metrics: how good outputs are for a label, and how sure one can be of a change."""

from onnxopt.metrics.accuracy import exact_match, top1, topk
from onnxopt.metrics.bootstrap import (
    Interval,
    bootstrap_mean,
    bootstrap_statistic,
    paired_bootstrap,
)
from onnxopt.metrics.budget import MIN_SAMPLES, Verdict, judge
from onnxopt.metrics.cer import cer
from onnxopt.metrics.metric import Metric, Outputs
from onnxopt.metrics.scores import Scores, change_of
from onnxopt.metrics.spec import metric, metric_names

__all__ = [
    "MIN_SAMPLES",
    "Interval",
    "Metric",
    "Outputs",
    "Scores",
    "Verdict",
    "bootstrap_mean",
    "bootstrap_statistic",
    "cer",
    "change_of",
    "exact_match",
    "judge",
    "metric",
    "metric_names",
    "paired_bootstrap",
    "top1",
    "topk",
]
