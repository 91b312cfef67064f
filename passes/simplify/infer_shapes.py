"""Writes down types and shapes that follow from the inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._inference import InferenceFailed, Inferred, infer

Dim = int | ir.SymbolicDim


@dataclass(frozen=True)
class InferShapes(Pass):
    """Annotates each value whose type or shape onnx's shape inference knows.

    What the model declares is kept, unless inference knows a size where the file has a name or
    nothing; graph inputs and outputs keep their declarations whole. Contradictions are noted.
    """

    exactness = Exactness.BITWISE
    settles = True

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Annotate in place; one note says how many values."""
        name = model.graph.name or "graph"
        try:
            inferred = infer(model)
        except InferenceFailed as error:
            yield Note.refused(name, f"shapes cannot be inferred: {error}")
            return
        count = 0
        for value, known in inferred.items():
            if value.is_graph_input():
                continue
            if _contradicts(value, known):
                yield Note.refused(
                    value, f"declared as {value.shape}, but its inputs make it {known.shape}"
                )
                continue
            count += _annotate(value, known)
        if count:
            yield Note.applied(name, f"type or shape of {count} values written down")


def _contradicts(value: ir.Value, known: Inferred) -> bool:
    if value.shape is None or known.shape is None:
        return False
    if len(value.shape) != len(known.shape):
        return True
    pairs = zip(value.shape, known.shape, strict=True)
    return any(_is_size(a) and isinstance(b, int) and a != b for a, b in pairs)


def _annotate(value: ir.Value, known: Inferred) -> bool:
    """Take over what is new; whether anything was."""
    if value.is_graph_output() and value.type is not None:
        return False
    changed = value.type is None and known.type is not None
    if changed:
        value.type = known.type
    if known.shape is None:
        return changed
    if value.shape is None:
        value.shape = known.shape.copy()
        return True
    merged = [_merge(a, b) for a, b in zip(value.shape, known.shape, strict=True)]
    if merged == list(value.shape):
        return changed
    value.shape = ir.Shape(merged)
    return True


def _merge(declared: Dim, known: Dim) -> Dim:
    """The more definite of the two: a size, then a declared name, then an inferred one."""
    if _is_size(declared):
        return declared
    named = isinstance(declared, ir.SymbolicDim) and declared.value is not None
    return declared if named and not isinstance(known, int) else known


def _is_size(dim: Dim) -> bool:
    """Whether a dimension is a number; some exporters write -1 for one they do not know."""
    return isinstance(dim, int) and dim >= 0
