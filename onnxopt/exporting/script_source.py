"""onnxscript functions: ONNX written as Python."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt import store
from onnxopt.data import Feeds
from onnxopt.exporting.failing import explained
from onnxopt.exporting.source import Converted, Outputs, Plan, SelfContained
from onnxopt.graph import opset
from onnxopt.signature import Signature, TensorSpec, signature_of


@dataclass(frozen=True, eq=False)
class ScriptSource(SelfContained):
    """See ``Source``."""

    function: Any
    origin: str

    @property
    def framework(self) -> str:
        """The library with its version."""
        import onnxscript

        return f"onnxscript {onnxscript.__version__}"

    @property
    def exporter(self) -> str:
        """The library itself."""
        return self.framework

    @property
    def opset(self) -> int:
        """The one the function is written in."""
        return opset(self.model)

    @cached_property
    def model(self) -> ir.Model:
        """The function as a model."""
        with explained(f"onnxscript cannot make a model of {self.origin}"):
            return store.load(self.function.to_model_proto())

    @cached_property
    def signature(self) -> Signature:
        """As annotated."""
        return signature_of(self.model)

    @property
    def inputs(self) -> tuple[TensorSpec, ...] | None:
        """As annotated; None where a rank is left open."""
        specs = self.signature.inputs
        return None if any(spec.shape is None for spec in specs) else specs

    def weights_sha256(self) -> str:
        """Over the graph: its constants are its weights."""
        return store.content_hash(self.model)

    def run(self, feeds: Feeds) -> Outputs:
        """What the function computes when Python calls it."""
        arguments = [feeds[spec.name] for spec in self.signature.inputs]
        with explained(f"{self.origin} raised"):
            found = self.function(*arguments)
        several = found if isinstance(found, tuple | list) else (found,)
        names = [spec.name for spec in self.signature.outputs]
        arrays = [np.asarray(getattr(value, "value", value)) for value in several]
        return dict(zip(names, arrays, strict=True))

    def convert(self, plan: Plan) -> Converted:
        """A copy of the model."""
        return Converted(self.model.clone(), self.exporter)
