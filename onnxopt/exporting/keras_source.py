"""Keras models, from ``.keras`` and ``.h5`` files or in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxopt.data import Feeds
from onnxopt.errors import ModelError
from onnxopt.exporting.failing import explained, require
from onnxopt.exporting.hashing import arrays_digest, files_digest
from onnxopt.exporting.silence import silent
from onnxopt.exporting.source import Converted, Outputs, Plan, SelfContained
from onnxopt.exporting.tensorflow_values import (
    OPSET,
    dims_of,
    exporter_name,
    framework_name,
    from_function,
    named,
)
from onnxopt.signature import TensorSpec


@dataclass(frozen=True, eq=False)
class KerasSource(SelfContained):
    """See ``Source``; dimensions without a size are dynamic."""

    model: Any
    origin: str
    digest: str = ""
    opset: int = OPSET

    @property
    def framework(self) -> str:
        """Keras and TensorFlow with their versions."""
        import keras

        return f"keras {keras.__version__} on {framework_name()}"

    @property
    def exporter(self) -> str:
        """tf2onnx with its version."""
        return exporter_name()

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """As the model declares them."""
        if not getattr(self.model, "inputs", None):
            raise ModelError(
                f"{self.origin} was never built", "a model with inputs", "call it on a sample once"
            )
        return tuple(
            TensorSpec(str(value.name), str(value.dtype), dims_of(str(value.name), value.shape))
            for value in self.model.inputs
        )

    @cached_property
    def _digest(self) -> str:
        weights = enumerate(self.model.get_weights())
        return arrays_digest({f"{index:06d}": np.asarray(array) for index, array in weights})

    def weights_sha256(self) -> str:
        """Of the file, else over the model's weights in order."""
        return self.digest or self._digest

    def _call(self, tensors: dict[str, Any]) -> Any:
        values = list(tensors.values())
        found = self.model(values if len(values) > 1 else values[0], training=False)
        if isinstance(found, dict | list | tuple):
            return found
        return {str(self.model.layers[-1].name): found}

    def run(self, feeds: Feeds) -> Outputs:
        """What the model computes."""
        ordered = {spec.name: feeds[spec.name] for spec in self.inputs}
        with explained(f"{self.origin} raised"), silent():
            return named(self._call(ordered))

    def convert(self, plan: Plan) -> Converted:
        """By tf2onnx, as a function of tensors (its way for Keras knows Keras 2 alone)."""
        return from_function(self._call, plan, self.origin)


def open_keras(path: Path) -> KerasSource:
    """Load a ``.keras`` or ``.h5`` file; code inside it is not run.

    Raises:
        ModelError: It cannot be read, or holds code.
        BackendMissingError: TensorFlow or tf2onnx is missing.
    """
    require("tensorflow", "tensorflow", "tf2onnx", "keras")
    import keras

    todo = "is it of this Keras, and without Lambda layers?"
    with explained(f"{path.name} cannot be loaded", todo), silent():
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    return KerasSource(model, path.name, files_digest([path]))
