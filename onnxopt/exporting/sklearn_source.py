"""scikit-learn estimators and pipelines, by skl2onnx."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt import pipeline, store
from onnxopt.data import Feeds
from onnxopt.errors import ModelError
from onnxopt.exporting.failing import explained, require
from onnxopt.exporting.options import ExportOptions
from onnxopt.exporting.silence import silent
from onnxopt.exporting.source import Converted, Outputs, Plan, SelfContained
from onnxopt.recipe import Recipe
from onnxopt.signature import TensorSpec

OPSET = 18
ML_OPSET = 3
"""Of ai.onnx.ml, where tree ensembles and scalers live; every runtime in use loads it."""

ROWS = "N"
_TIDY = "eliminate-dead-nodes | eliminate-unused-initializers"
_KINDS: Mapping[str, str] = {
    "float32": "FloatTensorType",
    "float64": "DoubleTensorType",
    "int64": "Int64TensorType",
    "int32": "Int32TensorType",
    "bool": "BooleanTensorType",
    "string": "StringTensorType",
}


@dataclass(frozen=True, eq=False)
class EstimatorSource(SelfContained):
    """See ``Source``; rows are always dynamic.

    Classifiers give ``label`` and, where they have them, ``probabilities``; regressors give
    ``prediction``, transformers ``features``, clusterings and outlier detectors ``label``.
    """

    estimator: Any
    origin: str
    opset: int = OPSET

    @property
    def framework(self) -> str:
        """scikit-learn with its version."""
        import sklearn

        return f"scikit-learn {sklearn.__version__}"

    @property
    def exporter(self) -> str:
        """skl2onnx with its version."""
        import skl2onnx

        return f"skl2onnx {skl2onnx.__version__}"

    @property
    def inputs(self) -> tuple[TensorSpec, ...] | None:
        """One row of numbers a sample; None where columns go by name, so that only a sample says
        of which type each is.
        """
        if self._by_column:
            return None
        count = getattr(self.estimator, "n_features_in_", None)
        return None if count is None else (TensorSpec("input", "float32", (ROWS, int(count))),)

    @property
    def _by_column(self) -> bool:
        from sklearn.compose import ColumnTransformer

        first = self.estimator
        while hasattr(first, "steps"):
            first = first.steps[0][1]
        return isinstance(first, ColumnTransformer) and hasattr(first, "feature_names_in_")

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(pickle.dumps(self.estimator)).hexdigest()

    def weights_sha256(self) -> str:
        """Over the estimator as Python would store it."""
        return self._digest

    def run(self, feeds: Feeds) -> Outputs:
        """What the estimator computes."""
        rows = len(next(iter(feeds.values())))
        with explained(f"{self.origin} raised"), silent():
            found = self._compute(self._table(feeds))
        return {name: _as_onnx(name, np.asarray(value), rows) for name, value in found}

    def _table(self, feeds: Feeds) -> Any:
        if not self._by_column:
            if len(feeds) != 1:
                raise ModelError(f"{len(feeds)} inputs for a table of numbers", "one")
            return next(iter(feeds.values()))
        require("sklearn", "pandas")
        import pandas

        return pandas.DataFrame({name: np.ravel(column) for name, column in feeds.items()})

    def _compute(self, table: Any) -> list[tuple[str, npt.NDArray[Any]]]:
        from sklearn.base import is_regressor

        model = self.estimator
        if is_regressor(model):
            return [("prediction", model.predict(table))]
        if hasattr(model, "predict"):
            found = [("label", model.predict(table))]
            if hasattr(model, "predict_proba"):
                found.append(("probabilities", model.predict_proba(table)))
            return found
        return [("features", model.transform(table))]

    def convert(self, plan: Plan) -> Converted:
        """By skl2onnx, probabilities as a tensor."""
        from skl2onnx.common import data_types

        unknown = [spec for spec in plan.inputs if spec.dtype not in _KINDS]
        if unknown:
            raise ModelError(f"input {unknown[0]} for skl2onnx", f"one of {', '.join(_KINDS)}")
        types = [
            (spec.name, getattr(data_types, _KINDS[spec.dtype])(_sizes(spec)))
            for spec in plan.inputs
        ]
        with explained(f"skl2onnx cannot take {self.origin}"), silent():
            proto = self._proto(types, {"": plan.opset or OPSET, "ai.onnx.ml": ML_OPSET})
        _say_once(proto)
        model = store.load(proto)
        if len(model.graph.outputs) > len(plan.outputs):
            del model.graph.outputs[len(plan.outputs) :]
            model = pipeline.run(model, Recipe.parse(_TIDY)).model
        return Converted(model, self.exporter)

    def _proto(self, types: list[tuple[str, Any]], opsets: dict[str, int]) -> Any:
        """By the first options that the last step knows: probabilities as one array, not a map."""
        import skl2onnx

        last = self.estimator
        while hasattr(last, "steps"):
            last = last.steps[-1][1]
        for option in ("zipmap", "raw_scores"):
            options = {id(last): {option: option == "raw_scores"}}
            with contextlib.suppress(NameError):  # skl2onnx's word for an unknown option
                return skl2onnx.to_onnx(
                    self.estimator, initial_types=types, options=options, target_opset=opsets
                )
        return skl2onnx.to_onnx(self.estimator, initial_types=types, target_opset=opsets)


def _sizes(spec: TensorSpec) -> list[int | None]:
    return [dim if isinstance(dim, int) else None for dim in spec.shape or ()]


def _as_onnx(name: str, array: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """As skl2onnx gives it: numbers as a column, labels flat, whole ones of 64 bits."""
    if name == "label":
        return array.astype(np.int64) if array.dtype.kind in "iu" else array
    return array.reshape(rows, -1) if array.ndim == 1 else array


def _say_once(proto: Any) -> None:
    """skl2onnx may import an operator set twice."""
    versions: dict[str, int] = {}
    for entry in proto.opset_import:
        versions[entry.domain] = max(entry.version, versions.get(entry.domain, 0))
    del proto.opset_import[:]
    for domain, version in versions.items():
        proto.opset_import.add(domain=domain, version=version)


def open_estimator(thing: Any, origin: str, options: ExportOptions) -> EstimatorSource:
    """A fitted estimator.

    Raises:
        ModelError: It is not fitted.
        BackendMissingError: skl2onnx is missing.
    """
    require("sklearn", "sklearn", "skl2onnx")
    from sklearn.utils.validation import check_is_fitted

    with explained(f"{origin} cannot be exported", "fit it in the factory"):
        check_is_fitted(thing)
    return EstimatorSource(thing, origin)
