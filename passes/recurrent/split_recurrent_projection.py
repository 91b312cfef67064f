"""split-recurrent-projection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import (
    Editor,
    attribute,
    constant,
    drop_if_unread,
    is_op,
    label,
    nodes_with_opset,
    record_origin,
)
from onnxopt.transform import Context, Note, Pass

_SEQUENCE_RANK = 3


@dataclass(frozen=True)
class SplitRecurrentProjection(Pass):
    """``LSTM(x; W) = LSTM(xWᵀ; I)``, likewise GRU and RNN: the product of the inputs becomes a
    MatMul of its own, and the identity stands in for the weights of the operator.

    For constant weights and inputs wider than the gates, where multiplying by the identity costs
    little. In float this gains nothing; it makes the larger part of the work a product that can be
    quantized. Both directions share one MatMul.

    Attributes:
        least: How many times wider than all gates together the input has to be.
    """

    looks_for = frozenset({"GRU", "LSTM", "RNN"})

    least: float = 1.5

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Split every operator that is wide enough."""
        editor = Editor(model)
        for node, _ in nodes_with_opset(model):
            if not is_op(node, "LSTM", "GRU", "RNN") or node.graph is None:
                continue
            weight = constant(node.inputs[1])
            if weight is None or weight.ndim != _SEQUENCE_RANK or node.inputs[0] is None:
                continue
            if attribute(node, "layout", 0):
                yield Note.refused(node, "its batch comes first (layout=1)")
                continue
            gates = weight.shape[0] * weight.shape[1]
            if weight.shape[2] < self.least * gates:
                continue
            _split(editor, node, weight)
            yield Note.applied(node, f"its {weight.shape[2]}×{gates} projection is a MatMul now")


def _split(editor: Editor, node: ir.Node, weight: npt.NDArray[np.generic]) -> None:
    directions, gates, width = weight.shape
    name = label(node)
    matrix = np.ascontiguousarray(weight.reshape(directions * gates, width).T)
    identity = np.eye(directions * gates, dtype=weight.dtype)
    source, old = node.inputs[0], node.inputs[1]
    assert source is not None
    projected = editor.insert_before(
        node,
        "MatMul",
        [source, editor.constant(node, f"{name}/projection", matrix)],
        f"{name}/projected",
        origin=[node],
    )
    projected.type = source.type
    if source.shape is not None and len(source.shape) == _SEQUENCE_RANK:
        projected.shape = ir.Shape([source.shape[0], source.shape[1], directions * gates])
    chosen = identity.reshape(directions, gates, directions * gates)
    node.replace_input_with(0, projected)
    node.replace_input_with(1, editor.constant(node, f"{name}/identity", chosen))
    record_origin(node, [node])
    if old is not None:
        drop_if_unread(old)
