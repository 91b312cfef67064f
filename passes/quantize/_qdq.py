"""Writes QuantizeLinear and DequantizeLinear nodes by the naming rules.

A name stays with the value that the rest of the graph reads. A tensor ``t`` made in integers is
``t/raw`` before its QuantizeLinear and ``t`` after its DequantizeLinear: that is the tensor its
readers, graph outputs among them, see. A tensor made in float stays ``t`` and its copy for integer
readers is ``t/dq``. Codes are ``t/q``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import Editor, drop_if_unread, record_origin
from onnxopt_passes.quantize._numbers import Encoding


@dataclass(frozen=True, eq=False)
class Quantized:
    """A tensor in codes.

    Attributes:
        codes: The output of its QuantizeLinear.
        real: The output of its DequantizeLinear.
        encoding: How the two are related.
    """

    codes: ir.Value
    real: ir.Value
    encoding: Encoding


@dataclass(frozen=True, eq=False)
class Codes:
    """A constant in codes.

    Attributes:
        codes: Integers of the constant's shape.
        scale: float32 [] or, along ``axis``, [channels].
        zero_point: Of the codes' type and the scale's shape.
        axis: Where there is more than one scale.
    """

    codes: npt.NDArray[np.generic]
    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.generic]
    axis: int = 0


class QdqWriter:
    """Adds the nodes to the main graph of one model."""

    def __init__(self, model: ir.Model) -> None:
        self.editor = Editor(model)
        self._graph = model.graph
        self._sole: dict[ir.Value, bool] = {}

    def quantize(self, value: ir.Value, encoding: Encoding, origin: ir.Node) -> Quantized:
        """Add a QuantizeLinear and a DequantizeLinear after a value; no reader changes yet."""
        name = value.name or ""
        parameters = self._parameters(origin, name, encoding)
        quantize = self._node("QuantizeLinear", [value, *parameters], f"{name}/q", origin)
        codes = quantize.outputs[0]
        codes.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(encoding.integer)))
        codes.shape = value.shape
        dequantize = self._node("DequantizeLinear", [codes, *parameters], f"{name}/dq", origin)
        real = _typed_like(value, dequantize.outputs[0])
        producer = value.producer()
        if producer is not None:
            self._graph.insert_after(producer, [quantize, dequantize])
        else:
            self._graph.insert_before(self._graph[0], [quantize, dequantize])
        return Quantized(codes, real, encoding)

    def take_over(self, value: ir.Value, made: Quantized, *, rename: bool) -> None:
        """Let every other reader of a value, graph outputs included, read its dequantized copy.

        With ``rename`` the copy takes the name; else the value keeps it, because the copy is not
        the same tensor.
        """
        quantize = made.codes.producer()
        value.replace_all_uses_with(made.real, replace_graph_outputs=True)
        if quantize is not None:
            quantize.replace_input_with(0, value)
        if rename:
            name = value.name or ""
            value.name = self.editor.fresh(f"{name}/raw")
            made.real.name = name

    def reread(self, made: Quantized, encoding: Encoding, node: ir.Node) -> Quantized:
        """The same codes read as the output of a node, before it."""
        name = node.outputs[0].name or ""
        inputs = [made.codes, *self._parameters(node, name, encoding)]
        real = self.editor.insert_before(
            node, "DequantizeLinear", inputs, f"{name}/dq", origin=[node]
        )
        return Quantized(made.codes, real, encoding)

    def read_scaled(self, made: Quantized, factor: float, anchor: ir.Node, name: str) -> ir.Value:
        """The same codes read as ``factor`` times their numbers, before ``anchor``."""
        parameters = self._parameters(anchor, name, made.encoding.scaled(factor))
        inputs = [made.codes, *parameters]
        real = self.editor.insert_before(anchor, "DequantizeLinear", inputs, name, origin=[anchor])
        return _typed_like(made.real, real)

    def number(self, anchor: ir.Node, number: float, like: Encoding, name: str) -> ir.Value:
        """One number, exact as a dequantized code, before ``anchor``."""
        codes = Codes(
            np.array(number > 0, like.integer),
            np.array(abs(number) or 1.0, np.float32),
            np.array(number < 0, like.integer),
        )
        return self._dequantize(anchor, name, codes)

    def replace_constant(self, node: ir.Node, place: int, codes: Codes) -> ir.Value:
        """Let a node read a constant as dequantized codes; returns what it reads now.

        The result takes the constant's name where the node was its only reader.
        """
        old = node.inputs[place]
        if old is None:
            raise ValueError(f"node {node.name} has no input {place}")
        name = old.name or ""
        is_sole = self._sole.setdefault(old, len(old.uses()) == 1 and not old.is_graph_output())
        real = _typed_like(old, self._dequantize(node, name, codes))
        let_read(self.editor, node, place, real)
        if is_sole:
            old.name, real.name = None, name
        return real

    def _dequantize(self, anchor: ir.Node, name: str, codes: Codes) -> ir.Value:
        inputs = [
            self.editor.constant(anchor, f"{name}/q", codes.codes),
            self.editor.constant(anchor, f"{name}/scale", codes.scale),
            self.editor.constant(anchor, f"{name}/zero_point", codes.zero_point),
        ]
        attributes = {"axis": codes.axis} if codes.scale.ndim else {}
        return self.editor.insert_before(
            anchor, "DequantizeLinear", inputs, f"{name}/dq", attributes, origin=[anchor]
        )

    def _parameters(self, anchor: ir.Node, name: str, encoding: Encoding) -> list[ir.Value]:
        return [
            self.editor.constant(anchor, f"{name}/scale", np.array(encoding.scale, np.float32)),
            self.editor.constant(
                anchor, f"{name}/zero_point", np.array(encoding.zero_point, encoding.integer)
            ),
        ]

    def _node(self, op_type: str, inputs: list[ir.Value], name: str, origin: ir.Node) -> ir.Node:
        fresh = self.editor.fresh(name)
        node = ir.Node("", op_type, inputs, num_outputs=1, name=fresh)
        node.outputs[0].name = fresh
        record_origin(node, [origin])
        return node


def _typed_like(model: ir.Value, value: ir.Value) -> ir.Value:
    value.type, value.shape = model.type, model.shape
    return value


def let_read(editor: Editor, node: ir.Node, place: int, value: ir.Value) -> None:
    """Let a node read another value; a constant that nobody reads then goes."""
    old = node.inputs[place]
    node.replace_input_with(place, value)
    if old is None or old.uses():
        return
    producer = old.producer()
    if producer is not None:
        editor.sweep(producer)
    else:
        drop_if_unread(old)
