"""Writes a Gather that takes everything in order as a Reshape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._facts import facts_of

_SHAPE_IS_INPUT_SINCE = 5


@dataclass(frozen=True)
class SpellGatherAsReshape(Pass):
    """Gather(x, [0, 1, …, n-1] of shape s, axis) → Reshape(x), s in place of the axis's n places.

    For constant indices, where at most one size is unknown. Exporters write views of a tensor by
    strides so; a Reshape costs nothing, goes away beside others, and keeps channels apart.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Gather"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Rewrite in every graph and function."""
        facts, editor = facts_of(model), Editor(model)
        for node, version in edit.nodes_with_opset(model):
            if not edit.is_op(node, "Gather") or version < _SHAPE_IS_INPUT_SINCE:
                continue
            source, axis = node.inputs[0], edit.attribute(node, "axis", 0)
            shape = None if source is None else facts.shape(source)
            if source is None or shape is None or not isinstance(axis, int) or not shape:
                continue
            sizes = _sizes(node.inputs[1], shape, axis % len(shape))
            if sizes is None:
                continue
            name = edit.label(node)
            target = editor.constant(node, f"{name}/shape", np.array(sizes, np.int64))
            new = editor.insert_before(
                node, "Reshape", [source, target], f"{name}/reshape", origin=[node]
            )
            editor.replace(node.outputs[0], new)
            editor.sweep(node)
            yield Note.applied(new, "takes everything in order")


def _sizes(indices: ir.Value | None, shape: Sequence[object], axis: int) -> list[int] | None:
    """The sizes to reshape to; None where it takes something else, or two are unknown."""
    tensor = edit.constant_tensor(indices)
    count = shape[axis]
    if tensor is None or tensor.size != count or not count:
        return None
    array = tensor.numpy()
    if not np.array_equal(array.reshape(-1), np.arange(array.size)):
        return None
    sizes = [*shape[:axis], *array.shape, *shape[axis + 1 :]]
    numbers = [size if isinstance(size, int) else -1 for size in sizes]
    return None if 0 in numbers or numbers.count(-1) > 1 else numbers
