"""A model that is ONNX already, as a file, as text or in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from onnxopt import store
from onnxopt.data import Feeds
from onnxopt.errors import ModelError
from onnxopt.exporting.failing import explained
from onnxopt.exporting.source import Converted, Outputs, Plan, SelfContained
from onnxopt.graph import opset
from onnxopt.runtime import Session, open_session
from onnxopt.signature import Signature, TensorSpec, signature_of


@dataclass(frozen=True, eq=False)
class OnnxSource(SelfContained):
    """See ``Source``; nothing is converted, only brought to a form that a target loads."""

    model: ir.Model
    origin: str

    @property
    def framework(self) -> str:
        """The library that reads it."""
        return f"onnx {onnx.__version__}"

    @property
    def exporter(self) -> str:
        """Who made the file, as far as it says."""
        model = self.model
        return f"{model.producer_name or ''} {model.producer_version or ''}".strip() or "unknown"

    @property
    def opset(self) -> int:
        """The opset it has."""
        return opset(self.model)

    @cached_property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return signature_of(self.model)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """As declared."""
        return self.signature.inputs

    def weights_sha256(self) -> str:
        """Over graph and weights."""
        return store.content_hash(self.model)

    @cached_property
    def _session(self) -> Session | None:
        """None where the runtime does not load it, which may be what is to be mended."""
        try:
            return open_session(self.model)
        except ModelError:
            return None

    def run(self, feeds: Feeds) -> Outputs:
        """Its own outputs, by ONNX Runtime; by onnx's reference where that does not load it."""
        names = [spec.name for spec in self.signature.outputs]
        if self._session is not None:
            return self._session.run({spec.name: feeds[spec.name] for spec in self.inputs}, names)
        with explained("neither ONNX Runtime nor onnx's reference runs the source"):
            from onnx.reference import ReferenceEvaluator

            proto = onnx.load_from_string(store.serialize(self.model))
            found: Any = ReferenceEvaluator(proto).run(names, dict(feeds))
        return dict(zip(names, found, strict=True))

    def convert(self, plan: Plan) -> Converted:
        """A copy."""
        return Converted(self.model.clone(), self.exporter)


def open_onnx(given: store.Source) -> OnnxSource:
    """Load an ONNX model.

    Raises:
        ModelError: It cannot be loaded.
    """
    origin = Path(given).name if isinstance(given, str | Path) else "a model in memory"
    return OnnxSource(store.load(given), origin)
