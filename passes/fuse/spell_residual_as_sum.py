"""spell-residual-as-sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, constant_tensor, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.fuse._formulas import Formulas

_FIRST_OPSET = 8
"""Before it, Sum does not broadcast."""


@dataclass(frozen=True)
class SpellResidualAsSum(Pass):
    """``LayerNormalization(a + b) = LayerNormalization(Sum(a, b))``.

    ONNX Runtime fuses Add and LayerNormalization into SkipLayerNormalization, whose CPU kernel is
    three to eight times slower than the two nodes; it leaves Sum alone. So this is for its CPU
    provider only. The same where the normalization is spelled out and the runtime puts it together
    first. The sum with a bias of one axis stays.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"LayerNormalization", "Pow", "Sqrt"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each sum that a normalization reads."""
        editor = Editor(model)
        spelled = {n.source for n in Formulas(model).normalizations if n.centered}
        for node, version in nodes_with_opset(model):
            if version < _FIRST_OPSET or not is_op(node, "Add"):
                continue
            if not (_is_normalized(node) or node.outputs[0] in spelled):
                continue
            if any(_is_bias(value) for value in node.inputs):
                continue
            name = f"{label(node)}/sum"
            new = editor.insert_before(node, "Sum", node.inputs, name, origin=[node])
            editor.replace(node.outputs[0], new)
            editor.sweep(node)
            yield Note.applied(new, "the residual before a normalization became Sum")


def _is_bias(value: ir.Value | None) -> bool:
    """Whether a summand is a constant of one axis, which the fusion leaves alone."""
    tensor = constant_tensor(value)
    return value is None or (tensor is not None and len(tensor.shape) < 2)


def _is_normalized(node: ir.Node) -> bool:
    uses = node.outputs[0].uses()
    return any(is_op(reader, "LayerNormalization") and index == 0 for reader, index in uses)
