"""Codes that flow between nodes → the numbers they stand for, computed beside them.

Every value of codes gets a twin: the float value that its codes stand for, with their scale and
zero point. What reads codes then reads twins, and the codes' own nodes go when nobody is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from onnxopt.graph import AttributeValue, Editor, attribute, constant_tensor, is_op, label
from onnxopt.transform import Note
from onnxopt_passes.quantize._undo_numbers import constant_of, numbers_of

_CLIP_INPUTS_SINCE = 11
_PAD_VALUE = 2
_FLOAT_BIAS = 6
_LIMITS = {ir.DataType.UINT8: (0, 255), ir.DataType.INT8: (-128, 127),
           ir.DataType.UINT16: (0, 65535), ir.DataType.INT16: (-32768, 32767),
           ir.DataType.UINT4: (0, 15), ir.DataType.INT4: (-8, 7)}  # fmt: skip
_MOVES = frozenset(
    """
    DepthToSpace Expand Flatten Gather GatherElements GatherND Identity MaxPool Reshape Slice
    SpaceToDepth Split Squeeze Tile Transpose Unsqueeze
    """.split()  # noqa: SIM905 - readable
)
_DOMAINS = ("", "com.microsoft")


@dataclass(frozen=True)
class Twin:
    """A float value with the codes that stood for it."""

    real: ir.Value
    scale: float
    zero_point: float
    codes: ir.DataType


class CodeUndoer:
    """Undoes the codes of one graph."""

    def __init__(self, model: ir.Model, editor: Editor, graph: ir.Graph, *, saturate: bool) -> None:
        self.editor = editor
        self._graph = graph
        self._version = model.opset_imports.get("", 0)
        self._saturate = saturate
        self._twins: dict[ir.Value, Twin] = {}
        self._weights: dict[ir.Node, ir.Value] = {}

    def run(self) -> Iterator[Note]:
        """Go through the graph once, then drop what nobody reads."""
        nodes = list(self._graph)
        for node in nodes:
            if node.graph is None:
                continue
            note = self._visit(node)
            if note is not None:
                yield note
        for node in reversed(nodes):
            if node.graph is not None and any(out in self._twins for out in node.outputs):
                self.editor.sweep(node)

    def _visit(self, node: ir.Node) -> Note | None:
        if node.op_type == "DequantizeLinear":
            return self._dequantize(node)
        if node.op_type == "QuantizeLinear":
            self._quantize(node)
        elif node.op_type in _MOVES and node.domain == "":
            self._move(node)
        elif is_op(node, "Pad"):
            self._pad(node)
        elif node.op_type == "MatMulIntegerToFloat" and node.inputs[0] not in self._twins:
            return None  # of codes made as it runs
        else:
            rule = OPERATORS.get(node.op_type) if node.domain in _DOMAINS else None
            return self._operator(node, rule) if rule is not None else None
        return None

    def twin(self, value: ir.Value | None, node: ir.Node, at: int) -> Twin | None:
        """The float twin of the codes at a position, whose scale and zero point follow."""
        if value is None:
            return None
        known = self._twins.get(value)
        scale, zero = self._scalars(node, at + 1)
        if known is None or scale is None:
            return None
        return self._reread(node, known, scale, zero)

    def number(self, node: ir.Node, at: int, axis: int) -> ir.Value | None:
        """Constant codes at a position as a float constant; scale and zero point follow."""
        codes, scale, zero = (constant_of(node, at + i) for i in range(3))
        if codes is None or scale is None:
            return None
        name = (node.inputs[at].name if node.inputs[at] else None) or label(node)  # type: ignore[union-attr]
        real = numbers_of(codes, scale, zero, axis % max(codes.ndim, 1))
        return self.editor.constant(node, f"{name}/real", real)

    def operand(self, node: ir.Node, at: int, axis: int = 0) -> ir.Value | None:
        """Codes at a position as a float value, constant or not."""
        made = self.number(node, at, axis)
        if made is not None:
            return made
        found = self.twin(node.inputs[at], node, at)
        return None if found is None else found.real

    def read(self, node: ir.Node, scale_at: int) -> ir.Value | None:
        """Codes at position 0 as a float value, where scales and zero points come in pairs."""
        value = node.inputs[0]
        known = None if value is None else self._twins.get(value)
        scale, zero = constant_of(node, scale_at), constant_of(node, scale_at + 2)
        if known is None or scale is None or scale.size != 1 or (zero is not None and zero.ndim):
            return None
        return self._reread(node, known, float(scale.reshape(())), float(zero or 0)).real

    def insert(
        self,
        node: ir.Node,
        op_type: str,
        inputs: list[ir.Value | None],
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> ir.Value:
        """A float node before a node."""
        name = f"{label(node)}/{op_type.lower()}"
        return self.editor.insert_before(node, op_type, inputs, name, attributes, origin=[node])

    def _dequantize(self, node: ir.Node) -> Note | None:
        name = label(node)
        axis, block = (int(str(attribute(node, n, d))) for n, d in (("axis", 1), ("block_size", 0)))
        codes, scale, zero = (constant_of(node, at) for at in range(3))
        if codes is not None and scale is not None:
            if scale.size == 1:
                axis = 0
            real = numbers_of(codes, scale, zero, axis, block).astype(scale.dtype)
            given = node.inputs[0]
            made = self.editor.constant(node, f"{given.name if given else name}/real", real)
            return self._stand_in(node, made, name, "weights in float")
        found = self.twin(node.inputs[0], node, 0)
        if found is None:
            return None
        return self._stand_in(node, found.real, name, "an activation in float")

    def _stand_in(self, node: ir.Node, real: ir.Value, name: str, what: str) -> Note:
        out = node.outputs[0]
        if out.is_graph_output() or out.type is not None:
            real.type = real.type or out.type
        if not self.editor.bypass(out, real):
            self.editor.replace(out, self.insert(node, "Identity", [real]))
        self.editor.sweep(node)
        return Note.applied(name, what)

    def _quantize(self, node: ir.Node) -> None:
        scale, zero = self._scalars(node, 1)
        source, codes = node.inputs[0], self._codes_of(node, 2)
        if scale is None or source is None or attribute(node, "block_size", 0):
            return
        real = self._clip(node, source, scale, zero, codes)
        self._twins[node.outputs[0]] = Twin(real, scale, zero, codes)

    def _move(self, node: ir.Node) -> None:
        found = self._twins.get(node.inputs[0]) if node.inputs and node.inputs[0] else None
        if found is None or any(value in self._twins for value in node.inputs[1:] if value):
            return
        name = self.editor.fresh(f"{label(node)}/real")
        made = ir.Node(
            "",
            node.op_type,
            [found.real, *node.inputs[1:]],
            node.attributes.values(),
            num_outputs=len(node.outputs),
            name=name,
        )
        for at, (old, new) in enumerate(zip(node.outputs, made.outputs, strict=True)):
            new.name = name if at == 0 else self.editor.fresh(f"{name}/{at}")
            if old.dtype == found.codes or at == 0 or node.op_type == "Split":
                self._twins[old] = Twin(new, found.scale, found.zero_point, found.codes)
        self._graph.insert_before(node, made)

    def _pad(self, node: ir.Node) -> None:
        found = self._twins.get(node.inputs[0]) if node.inputs and node.inputs[0] else None
        code = constant_of(node, _PAD_VALUE)
        given = node.inputs[_PAD_VALUE] if len(node.inputs) > _PAD_VALUE else None
        if found is None or (given is not None and code is None):
            return
        number = (float(0 if code is None else code.reshape(())) - found.zero_point) * found.scale
        inputs = [found.real, node.inputs[1], self._scalar(node, "value", number)]
        inputs += node.inputs[_PAD_VALUE + 1 :]
        made = self.insert(node, "Pad", inputs, node.attributes)
        self._twins[node.outputs[0]] = Twin(made, found.scale, found.zero_point, found.codes)

    def _operator(self, node: ir.Node, rule: Operator) -> Note | None:
        made = rule.make(self, node)
        if made is None:
            return Note.refused(node, "its operands are neither constants nor quantized before it")
        scale, zero = self._scalars(node, rule.scale_at)
        if scale is None and rule.is_optional:
            return self._stand_in(node, made, label(node), f"{node.op_type} in float")
        if scale is None:
            return Note.refused(node, "its output's scale is no single constant")
        codes = self._codes_of(node, rule.scale_at + 1)
        real = self._clip(node, made, scale, zero, codes)
        self._twins[node.outputs[0]] = Twin(real, scale, zero, codes)
        return Note.applied(node, f"{node.op_type} in float")

    def _reread(self, node: ir.Node, known: Twin, scale: float, zero: float) -> Twin:
        """The same codes read with another scale and zero point: a line."""
        if known.scale == scale and known.zero_point == zero:
            return known
        factor, shift = scale / known.scale, (known.zero_point - zero) * scale
        real = known.real
        if factor != 1:
            real = self.insert(node, "Mul", [real, self._scalar(node, "factor", factor)])
        if shift:
            real = self.insert(node, "Add", [real, self._scalar(node, "shift", shift)])
        return Twin(real, scale, zero, known.codes)

    def _clip(
        self, node: ir.Node, value: ir.Value, scale: float, zero: float, codes: ir.DataType
    ) -> ir.Value:
        limits = _LIMITS.get(codes)
        if not self._saturate or limits is None:
            return value
        low, high = ((limit - zero) * scale for limit in limits)
        if self._version < _CLIP_INPUTS_SINCE:
            return self.insert(node, "Clip", [value], {"min": low, "max": high})
        ends = [self._scalar(node, name, x) for name, x in (("low", low), ("high", high))]
        return self.insert(node, "Clip", [value, *ends])

    def _scalar(self, node: ir.Node, name: str, number: float) -> ir.Value:
        return self.editor.constant(node, f"{label(node)}/{name}", np.array(number, np.float32))

    def _scalars(self, node: ir.Node, at: int) -> tuple[float | None, float]:
        """Scale and zero point at two positions, each one number; no scale where it is not."""
        scale, zero = constant_of(node, at), constant_of(node, at + 1)
        given = node.inputs[at + 1] if at + 1 < len(node.inputs) else None
        if scale is None or scale.size != 1 or (given is not None and zero is None):
            return None, 0.0
        if zero is not None and zero.size != 1:
            return None, 0.0
        return float(scale.reshape(-1)[0]), 0.0 if zero is None else float(zero.reshape(-1)[0])

    def _codes_of(self, node: ir.Node, at: int) -> ir.DataType:
        given = node.inputs[at] if at < len(node.inputs) else None
        tensor = constant_tensor(given)
        declared = attribute(node, "output_dtype", 0)
        if tensor is None and declared:
            return ir.DataType(int(str(declared)))
        return ir.DataType.UINT8 if tensor is None else tensor.dtype


@dataclass(frozen=True)
class Operator:
    """How an operator on codes computes in float.

    Attributes:
        make: Its float node, before it; None where an operand cannot be had.
        scale_at: Position of its output's scale.
        is_optional: Whether the output is float where that scale is absent.
    """

    make: Callable[[CodeUndoer, ir.Node], ir.Value | None]
    scale_at: int
    is_optional: bool = False


def _conv(undo: CodeUndoer, node: ir.Node) -> ir.Value | None:
    x, w = undo.operand(node, 0), undo.operand(node, 3, 0)
    inputs = [x, w]
    if len(node.inputs) > 8 and node.inputs[8] is not None:
        inputs.append(_bias(undo, node, 8, (1, 4)))
    if any(value is None for value in inputs) or attribute(node, "channels_last", 0):
        return None
    return undo.insert(node, "Conv", inputs, node.attributes)


def _bias(undo: CodeUndoer, node: ir.Node, at: int, scales: tuple[int, int]) -> ir.Value | None:
    codes = constant_of(node, at)
    parts = [constant_of(node, place) for place in scales]
    if codes is None or parts[0] is None or parts[1] is None:
        return None
    scale = parts[0].astype(np.float64).reshape(-1) * parts[1].astype(np.float64).reshape(-1)
    real = numbers_of(codes, scale, None, codes.ndim - 1)
    return undo.editor.constant(node, f"{label(node)}/bias", real)


def _matmul(undo: CodeUndoer, node: ir.Node) -> ir.Value | None:
    a, b = undo.operand(node, 0, -2), undo.operand(node, 3, -1)
    return None if a is None or b is None else undo.insert(node, "MatMul", [a, b])


def _integer_to_float(undo: CodeUndoer, node: ir.Node) -> ir.Value | None:
    codes, scale, zero = (constant_of(node, at) for at in (1, 3, 5))
    x = undo.read(node, 2)
    if x is None or codes is None or scale is None:
        return None
    weight = undo.editor.constant(
        node, f"{label(node)}/weight", numbers_of(codes, scale, zero, codes.ndim - 1)
    )
    made = undo.insert(node, "MatMul", [x, weight])
    bias = node.inputs[_FLOAT_BIAS] if len(node.inputs) > _FLOAT_BIAS else None
    return made if bias is None else undo.insert(node, "Add", [made, bias])


def _gemm(undo: CodeUndoer, node: ir.Node) -> ir.Value | None:
    is_wide = bool(attribute(node, "transB", 0))
    inputs = [undo.operand(node, 0), undo.operand(node, 3, 0 if is_wide else 1)]
    if len(node.inputs) > 6 and node.inputs[6] is not None:
        inputs.append(_bias(undo, node, 6, (1, 4)))
    if any(value is None for value in inputs):
        return None
    return undo.insert(node, "Gemm", inputs, node.attributes)


def _binary(op_type: str) -> Callable[[CodeUndoer, ir.Node], ir.Value | None]:
    def make(undo: CodeUndoer, node: ir.Node) -> ir.Value | None:
        a, b = undo.operand(node, 0), undo.operand(node, 3)
        return None if a is None or b is None else undo.insert(node, op_type, [a, b])

    return make


def _unary(op_type: str) -> Callable[[CodeUndoer, ir.Node], ir.Value | None]:
    def make(undo: CodeUndoer, node: ir.Node) -> ir.Value | None:
        x = undo.operand(node, 0)
        if x is None or attribute(node, "channels_last", 0):
            return None
        dropped = ("channels_last", "opset")
        kept = {name: attr for name, attr in node.attributes.items() if name not in dropped}
        return undo.insert(node, op_type, [x], kept)

    return make


def _concat(undo: CodeUndoer, node: ir.Node) -> ir.Value | None:
    parts = [undo.operand(node, at) for at in range(2, len(node.inputs), 3)]
    if any(part is None for part in parts):
        return None
    return undo.insert(node, "Concat", parts, node.attributes)


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "MatMulIntegerToFloat": Operator(_integer_to_float, _FLOAT_BIAS + 1, is_optional=True),
        "QGemm": Operator(_gemm, 7, is_optional=True),
        "QLinearAdd": Operator(_binary("Add"), 6),
        "QLinearAveragePool": Operator(_unary("AveragePool"), 3),
        "QLinearConcat": Operator(_concat, 0),
        "QLinearConv": Operator(_conv, 6),
        "QLinearGlobalAveragePool": Operator(_unary("GlobalAveragePool"), 3),
        "QLinearLeakyRelu": Operator(_unary("LeakyRelu"), 3),
        "QLinearMatMul": Operator(_matmul, 6),
        "QLinearMul": Operator(_binary("Mul"), 6),
        "QLinearSigmoid": Operator(_unary("Sigmoid"), 3),
        "QLinearSoftmax": Operator(_unary("Softmax"), 3),
    }
)
"""Operators on codes, by op type: those of ONNX and of ONNX Runtime's own domain."""
