"""Metrics by name: ``top1``, ``topk{k=3}``, ``package.module:function``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from onnxopt import literal
from onnxopt.data.function import import_function
from onnxopt.errors import DataError, UsageError
from onnxopt.metrics.accuracy import exact_match, top1, topk
from onnxopt.metrics.auc import roc_auc
from onnxopt.metrics.average_precision import average_precision
from onnxopt.metrics.boxes import hmean
from onnxopt.metrics.cer import cer
from onnxopt.metrics.f1 import f1
from onnxopt.metrics.iou import mean_iou
from onnxopt.metrics.knn import knn
from onnxopt.metrics.likeness import argmax_agreement, cosine
from onnxopt.metrics.metric import Metric
from onnxopt.metrics.perplexity import perplexity
from onnxopt.metrics.regression import mae, mse, r2

_FACTORIES: Mapping[str, Callable[..., Metric]] = MappingProxyType(
    {
        "top1": top1,
        "topk": topk,
        "exact-match": exact_match,
        "cer": cer,
        "f1": f1,
        "roc-auc": roc_auc,
        "mae": mae,
        "mse": mse,
        "r2": r2,
        "mean-iou": mean_iou,
        "ap": average_precision,
        "hmean": hmean,
        "perplexity": perplexity,
        "knn": knn,
        "cosine": cosine,
        "argmax-agreement": argmax_agreement,
    }
)
_SPEC = re.compile(r"\s*([^{}]+?)\s*(?:\{(.*)\})?\s*\Z", re.DOTALL)


def metric_names() -> tuple[str, ...]:
    """The built-in metrics."""
    return tuple(_FACTORIES)


def metric(spec: str | Metric) -> Metric:
    """The metric a spec names; a ``Metric`` is returned as it is.

    A spec is a built-in name or ``module:function`` (or ``file.py:function``), with options in
    braces as in a recipe. A function takes (outputs, label) and returns a number; its options
    are ``higher_is_better`` and ``span``. It may also be a ``Metric`` itself.

    Raises:
        UsageError: The spec is not understood.
    """
    if isinstance(spec, Metric):
        return spec
    match = _SPEC.match(spec)
    if match is None:
        raise UsageError(f"metric {spec!r}", "a name, or name{option=value, …}")
    name, options = match[1], _options(match[2], spec)
    if ":" in name:
        return _from_function(name, options, spec.strip())
    if name not in _FACTORIES:
        raise UsageError(
            f"unknown metric {name!r}", f"{', '.join(_FACTORIES)}, or package.module:function"
        )
    return _call(_FACTORIES[name], options, name)


def _options(text: str | None, spec: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for piece in literal.split_outside(text, ",") if text and text.strip() else []:
        key, equals, value = piece.partition("=")
        key = key.strip().replace("-", "_")
        try:
            if not equals or key in options:
                raise ValueError("expected key=value, each key once")
            options[key] = literal.parse(value)
        except ValueError as error:
            raise UsageError(f"metric {spec!r}: option {piece.strip()!r}: {error}") from error
    return options


def _from_function(name: str, options: dict[str, Any], spec: str) -> Metric:
    try:
        function = import_function(name)
    except DataError as error:
        raise UsageError(f"metric {spec!r}: {error}") from error
    if isinstance(function, Metric):
        return _call(lambda: function, options, name)

    def build(*, higher_is_better: bool = True, span: float | None = None) -> Metric:
        return Metric(spec, function, higher_is_better, span=span)

    return _call(build, options, name)


def _call(factory: Callable[..., Metric], options: dict[str, Any], name: str) -> Metric:
    """Call with options checked against the factory's annotations."""
    from pydantic import ValidationError, validate_call

    try:
        return validate_call(factory)(**options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][:1])
        raise UsageError(f"metric {name}: option {where!r}: {first['msg'].lower()}") from error
