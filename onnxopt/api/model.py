"""Loading, saving and inspecting models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxopt import store
from onnxopt.api.counting import counted
from onnxopt.counting import LayerSparsity
from onnxopt.counting import sparsity as layer_sparsity
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
        parameters: Weights, each once.
        macs: Multiply-accumulates of one run.
        sizes: The open dimensions' sizes in that run.
        assumed: Those among them that nobody gave: they count as 1.
        uncounted: Nodes of unknown size, whose multiply-accumulates are left out.
        once: Loops of which one round is counted.
        sparsity: The zeros of each layer's weight; None where that was not asked for.
    """

    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    stats: GraphStats
    parameters: int
    macs: int
    sizes: Mapping[str, int]
    assumed: tuple[str, ...]
    uncounted: tuple[str, ...]
    once: tuple[str, ...]
    sparsity: tuple[LayerSparsity, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """The summary as plain values."""
        document = asdict(self)
        if self.sparsity is not None:
            document["sparsity"] = [{**asdict(one), "share": one.share} for one in self.sparsity]
        return document


def load(source: store.Source) -> ir.Model:
    """Load a model from a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model``.

    Raises:
        ModelError: The file is missing, unsafe or no valid model.
    """
    return store.load(source)


def save(model: ir.Model, path: Path | str) -> store.SavedModel:
    """Save a model: atomically, deterministically, with external data when it is large."""
    return store.save(model, Path(path))


def inspect(
    model: store.Source, *, dims: Mapping[str, int] | None = None, sparsity: bool = False
) -> ModelSummary:
    """Summarise a model.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; never changed.
        dims: Sizes to count multiply-accumulates at, by symbolic name or ``input:axis``; other open
            dimensions are 1.
        sparsity: Whether to look at every weight for zeros.

    Raises:
        ModelError: The model cannot be used.
        UsageError: ``dims`` names no open dimension.
    """
    loaded = store.load(model)
    signature = signature_of(loaded)
    producer = f"{loaded.producer_name or ''} {loaded.producer_version or ''}".strip()
    sized = counted(loaded, dims)
    return ModelSummary(
        ir_version=loaded.ir_version,
        producer=producer,
        opsets=dict(loaded.opset_imports),
        inputs=signature.inputs,
        outputs=signature.outputs,
        stats=stats(loaded),
        parameters=sized.count.parameters,
        macs=sized.count.macs,
        sizes=sized.sizes,
        assumed=sized.assumed,
        uncounted=sized.count.uncounted,
        once=sized.count.once,
        sparsity=layer_sparsity(loaded) if sparsity else None,
    )
