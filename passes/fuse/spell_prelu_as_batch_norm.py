"""spell-prelu-as-batch-norm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import Editor, constant, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._affine import OVERRIDABLE
from onnxopt_passes.fuse._shape import Layouts

_FIRST_OPSET = 7
"""Before it, elementwise operators broadcast by attributes."""
_RANK = 4


@dataclass(frozen=True)
class SpellPreluAsBatchNorm(Pass):
    """``PRelu(x; s) = (1 - s)·relu(x) + s·x`` with one slope s a channel, both factors spelled as
    BatchNormalization; with one slope for all, ``LeakyRelu(x; alpha=s)``.

    For images ``[N,C,H,W]`` of which a Conv computes x: ONNX Runtime's CPU provider has no blocked
    PRelu, and runs this form within its blocked layout (7 times faster).
    """

    looks_for = frozenset({"PRelu"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Replace each PRelu with constant slopes."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in nodes_with_opset(model):
            if version < _FIRST_OPSET or not is_op(node, "PRelu") or node.graph is None:
                continue
            source, given = node.inputs
            if source is None or given is None:
                continue
            slopes = constant(given)
            if slopes is None:
                reason = OVERRIDABLE if given.is_initializer() else "is not constant"
                yield Note.refused(node, f"the slope {given.name} {reason}")
            elif slopes.dtype == np.float32:
                yield from _replace(editor, layouts, node, slopes.astype(np.float64))


def _replace(
    editor: Editor, layouts: Layouts, node: ir.Node, slopes: npt.NDArray[np.float64]
) -> Iterator[Note]:
    source = node.inputs[0]
    assert source is not None
    layout = layouts[source]
    if np.all(slopes == slopes.reshape(-1)[:1]) and slopes.ndim <= (layout.rank or 0):
        alpha = float(slopes.reshape(-1)[0])
        attributes = {"alpha": alpha}
        name = f"{label(node)}/leaky"
        new = editor.insert_before(node, "LeakyRelu", [source], name, attributes, origin=[node])
    elif layout.rank != _RANK or not is_op(source.producer(), "Conv"):
        return
    elif slopes.size != layout.channels or slopes.shape[-2:] != (1, 1) or slopes.ndim > _RANK:
        yield Note.refused(node, "its slopes vary along other axes than the channels")
        return
    else:
        new = _spelled(editor, node, source, slopes.reshape(-1))
    editor.replace(node.outputs[0], new)
    editor.sweep(node)
    yield Note.applied(new, "PRelu became what the blocked layout has kernels for")


def _spelled(
    editor: Editor, node: ir.Node, source: ir.Value, slopes: npt.NDArray[np.float64]
) -> ir.Value:
    base = label(node)
    relu = editor.insert_before(node, "Relu", [source], f"{base}/relu", origin=[node])
    relu.type, relu.shape = source.type, source.shape
    rising = _scaled(editor, node, relu, 1.0 - slopes, f"{base}/rising")
    falling = _scaled(editor, node, source, slopes, f"{base}/falling")
    return editor.insert_before(node, "Add", [rising, falling], f"{base}/sum", origin=[node])


def _scaled(
    editor: Editor, node: ir.Node, value: ir.Value, scale: npt.NDArray[np.float64], name: str
) -> ir.Value:
    vectors = (scale, np.zeros(scale.size), np.zeros(scale.size), np.ones(scale.size))
    kinds = ("scale", "bias", "mean", "variance")
    parameters = [
        editor.constant(node, f"{name}/{kind}", vector.astype(np.float32))
        for kind, vector in zip(kinds, vectors, strict=True)
    ]
    made = editor.insert_before(
        node,
        "BatchNormalization",
        [value, *parameters],
        name,
        {"epsilon": 0.0},
        origin=[node],
    )
    made.type, made.shape = value.type, value.shape
    return made
