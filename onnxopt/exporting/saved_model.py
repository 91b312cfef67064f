"""TensorFlow saved models: a folder with ``saved_model.pb``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxopt.data import Feeds
from onnxopt.errors import ModelError
from onnxopt.exporting.failing import explained, require
from onnxopt.exporting.hashing import files_digest
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

_SIGNATURES = ("serving_default", "serve")


@dataclass(frozen=True, eq=False)
class SavedModelSource(SelfContained):
    """See ``Source``; the signature ``serving_default``, or the only one."""

    loaded: Any
    signature: Any
    origin: str
    digest: str
    opset: int = OPSET

    @property
    def framework(self) -> str:
        """TensorFlow with its version."""
        return framework_name()

    @property
    def exporter(self) -> str:
        """tf2onnx with its version."""
        return exporter_name()

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """As the signature declares them, in order of name."""
        _, named_specs = self.signature.structured_input_signature
        return tuple(
            TensorSpec(name, spec.dtype.name, _dims(name, spec.shape))
            for name, spec in sorted(named_specs.items())
        )

    def weights_sha256(self) -> str:
        """Over the files of the folder."""
        return self.digest

    def _call(self, tensors: dict[str, Any]) -> Any:
        import tensorflow as tf

        found = self.signature(**{name: tf.convert_to_tensor(t) for name, t in tensors.items()})
        return dict(sorted(found.items()))

    def run(self, feeds: Feeds) -> Outputs:
        """What the signature computes; outputs in order of name."""
        with explained(f"{self.origin} raised"), silent():
            return named(self._call({spec.name: feeds[spec.name] for spec in self.inputs}))

    def convert(self, plan: Plan) -> Converted:
        """By tf2onnx."""
        return from_function(self._call, plan, self.origin)


def open_saved_model(path: Path) -> SavedModelSource:
    """Load a folder.

    Raises:
        ModelError: It cannot be read, or has no signature to export.
        BackendMissingError: TensorFlow or tf2onnx is missing.
    """
    require("tensorflow", "tensorflow", "tf2onnx")
    import tensorflow as tf

    with explained(f"{path.name} cannot be loaded"), silent():
        loaded = tf.saved_model.load(str(path))
    signatures = dict(loaded.signatures)
    names = [name for name in _SIGNATURES if name in signatures] or list(signatures)
    if len(names) != 1 and names[:1] != list(_SIGNATURES[:1]):
        raise ModelError(
            f"{path.name} has the signatures {', '.join(names) or '(none)'}", "serving_default"
        )
    files = [file for file in path.rglob("*") if file.is_file()]
    return SavedModelSource(loaded, signatures[names[0]], path.resolve().name, files_digest(files))


def _dims(name: str, shape: Any) -> tuple[int | str, ...]:
    if shape.rank is None:
        raise ModelError(f"input {name} has no known rank", "a signature with shapes")
    return dims_of(name, shape.as_list())
