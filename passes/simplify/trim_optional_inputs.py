"""Drops optional inputs that say what the default says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes._zeros import is_zero

_STATES = {"GRU": (5,), "LSTM": (5, 6, 7), "RNN": (5,)}


@dataclass(frozen=True)
class TrimOptionalInputs(Pass):
    """f(x, default) → f(x).

    The initial states and peepholes of LSTM, GRU and RNN that are all zero, the value 0 of Pad,
    empty regions, scales and sizes of Resize, and empty names at the end of any node's inputs.
    Zeros count when they are a constant, or made by ConstantOfShape or Expand, and when they are
    cut, joined and put in another order after that.
    """

    exactness = Exactness.BITWISE

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Trim in every graph and function."""
        editor = Editor(model)
        for node, version in edit.nodes_with_opset(model):
            if node.domain:
                continue
            superfluous = _superfluous(node, version)
            for position in superfluous:
                value = node.inputs[position]
                node.replace_input_with(position, None)
                yield Note.applied(node, f"its input {position} is what the default is")
                _release(value, editor)
            used = max((i for i, v in enumerate(node.inputs) if v is not None), default=-1)
            if used + 1 < len(node.inputs):
                node.resize_inputs(used + 1)
                if not superfluous:
                    yield Note.applied(node, "its last inputs are left out anyway")


def _superfluous(node: ir.Node, version: int) -> list[int]:
    given = [i for i, value in enumerate(node.inputs) if value is not None]
    if node.op_type in _STATES:
        return [i for i in _STATES[node.op_type] if i in given and is_zero(node.inputs[i])]
    if edit.is_op(node, "Pad") and version >= 11 and 2 in given:
        return [2] if is_zero(node.inputs[2]) else []
    if edit.is_op(node, "Resize") and version >= 13:
        return [i for i in (1, 2) if i in given and _is_empty(node.inputs[i])]
    return []


def _is_empty(value: ir.Value | None) -> bool:
    tensor = edit.constant_tensor(value)
    return tensor is not None and tensor.size == 0


def _release(value: ir.Value | None, editor: Editor) -> None:
    maker = None if value is None else value.producer()
    if maker is not None:
        editor.sweep(maker)
    elif value is not None:
        edit.drop_if_unread(value)
