"""What pruning says of a layer and of them all."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxopt.transform import Note
from onnxopt_passes.prune._weights import Prunable

ADVICE = "on a CPU that saves size under compression, not time"


def layer_note(weight: Prunable, new: int) -> Note:
    """How many of a layer's weights are zero now."""
    zeros, size = weight.zeros(), weight.size
    reason = f"{zeros:,} of {size:,} weights are zero ({zeros / size:.1%}), {new:,} of them new"
    return Note("applied", weight.name, reason, _figures(zeros, size))


def on_all(model: ir.Model, weights: Sequence[Prunable], new: int, advice: str) -> Note:
    """How many of all weights are zero now, and what that is good for."""
    name = model.graph.name or "model"
    zeros, size = sum(weight.zeros() for weight in weights), sum(w.size for w in weights)
    if not size:
        reason = "no layer has float weights to prune (a model is pruned before it is quantized)"
        return Note.refused(name, reason)
    layers = "1 layer" if len(weights) == 1 else f"{len(weights)} layers"
    found = f"{zeros:,} of {size:,} weights in {layers} are zero ({zeros / size:.1%})"
    if not new:
        return Note("refused", name, f"{found} as it is", _figures(zeros, size))
    return Note("applied", name, f"{found}; {advice}", _figures(zeros, size))


def _figures(zeros: int, size: int) -> dict[str, float | str]:
    return {"weights": size, "zeros": zeros, "share": zeros / size if size else 0.0}
