"""Loading, saving and inspecting models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxopt import store
from onnxopt.graph import GraphStats, stats
from onnxopt.signature import TensorSpec, signature_of


@dataclass(frozen=True)
class ModelSummary:
    """What is in a model.

    Attributes:
        ir_version: IR version of the file.
        producer: Name and version of the tool that wrote it; empty where not stated.
        opsets: Domain → opset version.
        inputs: What must be fed.
        outputs: What comes back.
        stats: Counts.
    """

    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    stats: GraphStats

    def to_json(self) -> dict[str, Any]:
        """The summary as plain values."""
        return asdict(self)


def load(source: store.Source) -> ir.Model:
    """Load a model from a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model``.

    Raises:
        ModelError: The file is missing, unsafe or no valid model.
    """
    return store.load(source)


def save(model: ir.Model, path: Path | str) -> store.SavedModel:
    """Save a model: atomically, deterministically, with external data when it is large."""
    return store.save(model, Path(path))


def inspect(model: store.Source) -> ModelSummary:
    """Summarise a model."""
    loaded = store.load(model)
    signature = signature_of(loaded)
    producer = f"{loaded.producer_name or ''} {loaded.producer_version or ''}".strip()
    return ModelSummary(
        ir_version=loaded.ir_version,
        producer=producer,
        opsets=dict(loaded.opset_imports),
        inputs=signature.inputs,
        outputs=signature.outputs,
        stats=stats(loaded),
    )
