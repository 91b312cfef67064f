"""What a model multiplies and holds, with its open dimensions given a size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxopt import counting
from onnxopt.data import Dimension, Feeds, open_dimensions
from onnxopt.errors import UsageError
from onnxopt.graph import Editor
from onnxopt.recipe import Recipe
from onnxopt.signature import signature_of
from onnxopt.transform import Context

_MICROSOFT = "com.microsoft"
_KEEP_SHAPE = frozenset(
    {"BiasGelu", "FastGelu", "Gelu", "QuickGelu", "RotaryEmbedding"}
    | {"SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}
)


@dataclass(frozen=True)
class SizedCount:
    """Parameters and multiply-accumulates of one run.

    Attributes:
        count: The figures.
        sizes: What open dimensions were given, by name or ``input:axis``.
        assumed: Those among them that nobody gave: they count as 1.
    """

    count: counting.ModelCount
    sizes: Mapping[str, int]
    assumed: tuple[str, ...]


def counted(model: ir.Model, dims: Mapping[str, int] | None = None) -> SizedCount:
    """Count a model at some sizes; the model stays as it is.

    Args:
        model: The model.
        dims: Size by symbolic name or ``input:axis``; other open dimensions are 1.

    Raises:
        UsageError: ``dims`` names no open dimension, or a size is below 1.
    """
    found = _open(model)
    sizes = {dimension.key: 1 for dimension in found}
    names = {f"{name}:{axis}": d.key for d in found for name, axis in d.places}
    names |= {key: key for key in sizes}
    given = dims or {}
    for name, size in given.items():
        if name not in names:
            listed = ", ".join(sizes) or "none"
            raise UsageError(f"there is no open dimension {name!r}", f"one of {listed}")
        if size < 1:
            raise UsageError(f"size {size} of {name}", "a number from 1")
        sizes[names[name]] = size
    known = {names[name] for name in given}
    return SizedCount(_count(model, sizes), sizes, tuple(key for key in sizes if key not in known))


def sizes_of(model: ir.Model, feeds: Feeds) -> dict[str, int]:
    """What the open dimensions of a model are in one sample."""
    shapes = {name: getattr(value, "shape", ()) for name, value in feeds.items()}
    return {
        dimension.key: int(shapes[name][axis])
        for dimension in _open(model)
        for name, axis in dimension.places
        if name in shapes and axis < len(shapes[name])
    }


def _open(model: ir.Model) -> tuple[Dimension, ...]:
    signature = signature_of(model)
    if any(spec.shape is None for spec in signature.inputs):
        return ()
    return open_dimensions(signature)


def _count(model: ir.Model, sizes: Mapping[str, int]) -> counting.ModelCount:
    """Count a copy with these sizes written down as far as they reach, folded where that helps."""
    clone = model.clone()
    for value in clone.graph.outputs:  # what is declared there may name other dimensions
        producer = value.producer()
        if producer is not None and producer.domain == "":  # onnx infers those
            value.type, value.shape = None, None
    _leave_out_pointwise(clone)
    rows = [{"pass": "fix-dims", "sizes": dict(sizes)}] if sizes else []
    _run(Recipe.from_toml([*rows, {"pass": "inline-functions"}, {"pass": "infer-shapes"}]), clone)
    found = counting.count(clone)
    if not found.uncounted:
        return found
    _run(Recipe.parse("fold-constants | fold-shapes | infer-shapes"), clone)
    return replace(counting.count(clone), parameters=found.parameters)


def _leave_out_pointwise(model: ir.Model) -> None:
    """Let what reads a node that keeps its input's shape read that input: onnx's inference stops at
    ops of other domains. They multiply nothing that is counted.
    """
    editor = Editor(model)
    for node in list(model.graph):
        source = node.inputs[0] if node.inputs else None
        if node.domain == _MICROSOFT and node.op_type in _KEEP_SHAPE and source is not None:
            for out in (node.outputs[0], *node.outputs[3:4]):
                editor.bypass(out, source)


def _run(recipe: Recipe, model: ir.Model) -> None:
    for step in recipe.passes():
        for _ in step.rewrite(model, Context()):
            pass
