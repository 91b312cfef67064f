"""Products with dynamically quantized activations or coded weights → products in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import AttributeValue, Editor, attribute, constant, is_constant, is_op, label
from onnxopt.transform import Note
from onnxopt_passes.quantize._undo_numbers import constant_of, numbers_of, spread, unpacked

Floats = npt.NDArray[np.float32]
_SAME = "needs constant weights"
_LSTM_INPUTS = 8


def undo_dynamic(editor: Editor, node: ir.Node, version: int) -> Note | None:
    """Rewrite a node that ends such a product; None where it does not."""
    rule = _OWN.get(node.op_type) if node.domain == "com.microsoft" else None
    if rule is not None:
        return rule(editor, node)
    return _integer_product(editor, node) if is_op(node, "Mul") else None


def _integer_product(editor: Editor, node: ir.Node) -> Note | None:
    """``Cast(MatMulInteger(q, w) [+ bias]) * (s_x * s_w)``, ConvInteger likewise."""
    for at in (0, 1):
        cast, scales = _made_by(node.inputs[at], "Cast"), _made_by(node.inputs[1 - at], "Mul")
        if cast is None or scales is None:
            continue
        product, bias = _product_and_bias(cast.inputs[0])
        source = None if product is None else _quantized_source(product.inputs[0])
        if product is None or source is None or not _reads_zero_point(product, source, 2):
            continue
        weight = _weight(editor, product, _other(scales, source.outputs[1]))
        if weight is not None:
            return _float_product(editor, node, product, weight, bias)
    return None


def _weight(editor: Editor, product: ir.Node, scale: ir.Value | None) -> ir.Value | None:
    """The float weights of an integer product: constant codes, or numbers quantized as it runs."""
    source = _quantized_source(product.inputs[1])
    if source is not None and scale is source.outputs[1] and _reads_zero_point(product, source, 3):
        return source.inputs[0]
    codes, factor, zero = constant_of(product, 1), constant(scale), constant_of(product, 3)
    if codes is None or factor is None:
        return None
    axis = 0 if product.op_type == "ConvInteger" else codes.ndim - 1
    offset = None if zero is None else zero.reshape(-1)
    real = numbers_of(codes, factor.reshape(-1), offset, axis)
    return editor.constant(product, _weight_name(product), real)


def _float_product(
    editor: Editor, node: ir.Node, product: ir.Node, weight: ir.Value, bias: ir.Value | None
) -> Note:
    name, source = label(node), _quantized_source(product.inputs[0])
    if source is None:
        raise ValueError(f"{name} reads no DynamicQuantizeLinear")
    inputs: list[ir.Value | None] = [source.inputs[0], weight]
    is_conv = product.op_type == "ConvInteger"
    if is_conv and bias is not None:
        inputs.append(bias)
    attributes: dict[str, AttributeValue] = dict(product.attributes)
    out = editor.insert_before(
        node, "Conv" if is_conv else "MatMul", inputs, f"{name}/real", attributes, origin=[node]
    )
    if bias is not None and not is_conv:
        out = editor.insert_before(node, "Add", [out, bias], f"{name}/biased", origin=[node])
    editor.replace(node.outputs[0], out)
    editor.sweep(node)
    return Note.applied(name, f"{product.op_type} became a product in float32")


def _product_and_bias(value: ir.Value | None) -> tuple[ir.Node | None, ir.Value | None]:
    """The integer product behind a value, and the float bias that was added to it in integers."""
    direct = _made_by(value, "MatMulInteger", "ConvInteger")
    adder = _made_by(value, "Add")
    if direct is not None or adder is None:
        return direct, None
    for at in (0, 1):
        product = _made_by(adder.inputs[at], "MatMulInteger", "ConvInteger")
        bias = _rounded_bias(adder.inputs[1 - at])
        if product is not None and bias is not None:
            return product, bias
    return None, None


def _rounded_bias(value: ir.Value | None) -> ir.Value | None:
    """``b`` of ``Reshape(Cast(Floor(b / scale)))``, a vector."""
    for op_type in ("Reshape", "Cast", "Floor", "Div"):
        node = _made_by(value, op_type)
        if node is None:
            return None
        value = node.inputs[0]
    is_vector = value is not None and is_constant(value) and value.shape is not None
    return value if is_vector and value is not None and len(value.shape or ()) == 1 else None


def _quantized_source(value: ir.Value | None) -> ir.Node | None:
    return _made_by(value, "DynamicQuantizeLinear")


def _reads_zero_point(product: ir.Node, source: ir.Node, at: int) -> bool:
    """Whether a product takes an operand's own zero point."""
    return len(product.inputs) > at and product.inputs[at] is source.outputs[2]


def _other(node: ir.Node, known: ir.Value) -> ir.Value | None:
    """The operand of two that is not the known one."""
    if known not in node.inputs:
        return None
    return node.inputs[1 if node.inputs[0] is known else 0]


def _made_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if is_op(node, *op_types) else None


def _weight_name(node: ir.Node) -> str:
    value = node.inputs[1]
    name = label(node) if value is None or value.name is None else value.name
    return f"{name}/real"


def _dynamic_matmul(editor: Editor, node: ir.Node) -> Note | None:
    codes, scale, zero = (constant_of(node, at) for at in (1, 2, 3))
    if codes is None or scale is None:
        return Note.refused(node, _SAME)
    return _matmul(editor, node, numbers_of(codes, scale, zero, codes.ndim - 1), bias_at=4)


def _integer_to_float(editor: Editor, node: ir.Node) -> Note | None:
    if _made_by(node.inputs[0], "QuantizeLinear") is not None:
        return None  # of codes with a scale of their own: undone with them
    source = _quantized_source(node.inputs[0])
    codes, scale, zero = (constant_of(node, at) for at in (1, 3, 5))
    if source is None or codes is None or scale is None:
        return Note.refused(node, "needs a DynamicQuantizeLinear before it and constant weights")
    weight = numbers_of(codes, scale, zero, codes.ndim - 1)
    return _matmul(editor, node, weight, bias_at=6, x=source.inputs[0])


def _blocks(editor: Editor, node: ir.Node) -> Note | None:
    codes, scale, zero = (constant_of(node, at) for at in (1, 2, 3))
    if codes is None or scale is None or (len(node.inputs) > 3 and node.inputs[3] and zero is None):
        return Note.refused(node, _SAME)
    bits, rows, columns = (_whole(node, name) for name in ("bits", "K", "N"))
    wide = unpacked(codes.astype(np.uint8), bits).reshape(columns, scale.size // columns, -1)
    flat = _zero_points(zero, bits, (columns, wide.shape[1]))
    real = (wide.astype(np.float64) - flat[..., np.newaxis]) * scale.astype(np.float64).reshape(
        columns, -1, 1
    )
    weight = real.reshape(columns, -1)[:, :rows].T.astype(scale.dtype)
    return _matmul(editor, node, np.ascontiguousarray(weight), bias_at=5)


def _table(editor: Editor, node: ir.Node) -> Note | None:
    codes, scale, zero = (constant_of(node, at) for at in (0, 2, 3))
    plain = attribute(node, "gather_axis", 0) == 0 and attribute(node, "quantize_axis", 1) == 1
    if codes is None or scale is None or codes.ndim != 2 or codes.dtype != np.uint8 or not plain:
        return Note.refused(node, "is not a constant table of uint8, fetched by rows")
    bits, block = _whole(node, "bits", 4), _whole(node, "block_size", 128)
    wide = unpacked(codes.astype(np.uint8), bits)
    factors = spread(scale, wide.shape, 1, block)
    offsets = spread(_zero_points(zero, bits, scale.shape), wide.shape, 1, block)
    table = ((wide.astype(np.float64) - offsets) * factors).astype(scale.dtype)
    name, given = label(node), node.inputs[0]
    made = editor.constant(node, f"{given.name if given else name}/real", table)
    inputs = [made, node.inputs[1]]
    out = editor.insert_before(node, "Gather", inputs, f"{name}/rows", origin=[node])
    return _finish(editor, node, out, "a table in float32")


def _zero_points(
    zero: npt.NDArray[np.generic] | None, bits: int, shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    if zero is None:
        return np.full(shape, float(1 << (bits - 1)))
    if zero.dtype != np.uint8:
        return zero.astype(np.float64).reshape(shape)
    rows = zero.astype(np.uint8).reshape(shape[0], -1)
    return unpacked(rows, bits)[:, : shape[1]].astype(np.float64)


def _lstm(editor: Editor, node: ir.Node) -> Note | None:
    parts = [[constant_of(node, at) for at in group] for group in ((1, 8, 9), (2, 10, 11))]
    inputs = list(node.inputs[:_LSTM_INPUTS])
    for at, (codes, scale, zero) in enumerate(parts, start=1):
        if codes is None or scale is None:
            return Note.refused(node, _SAME)
        matrices = [
            numbers_of(codes[d], scale[d].reshape(-1), None if zero is None else zero[d], 1).T
            for d in range(len(codes))
        ]
        value = node.inputs[at]
        name = value.name if value is not None else label(node)
        inputs[at] = editor.constant(node, f"{name}/real", np.ascontiguousarray(np.stack(matrices)))
    name = label(node)
    made = ir.Node("", "LSTM", inputs, node.attributes.values(), num_outputs=len(node.outputs))
    made.name = editor.fresh(f"{name}/real")
    graph = node.graph
    if graph is None:
        return None
    graph.insert_before(node, made)
    for old, new in zip(node.outputs, made.outputs, strict=True):
        if old.name:
            editor.replace(old, new)
    editor.sweep(node)
    return Note.applied(name, "an LSTM in float32")


def _matmul(
    editor: Editor,
    node: ir.Node,
    weight: npt.NDArray[np.generic],
    *,
    bias_at: int,
    x: ir.Value | None = None,
) -> Note:
    name = label(node)
    made = editor.constant(node, _weight_name(node), weight)
    inputs = [node.inputs[0] if x is None else x, made]
    out = editor.insert_before(node, "MatMul", inputs, f"{name}/real", origin=[node])
    bias = node.inputs[bias_at] if bias_at < len(node.inputs) else None
    if bias is not None:
        out = editor.insert_before(node, "Add", [out, bias], f"{name}/biased", origin=[node])
    return _finish(editor, node, out, "a product in float32")


def _finish(editor: Editor, node: ir.Node, out: ir.Value, what: str) -> Note:
    name, op_type = label(node), node.op_type
    editor.replace(node.outputs[0], out)
    editor.sweep(node)
    return Note.applied(name, f"{op_type} became {what}")


def _whole(node: ir.Node, name: str, default: int = 0) -> int:
    return int(str(attribute(node, name, default)))


_OWN: Mapping[str, Callable[[Editor, ir.Node], Note | None]] = MappingProxyType(
    {
        "DynamicQuantizeLSTM": _lstm,
        "DynamicQuantizeMatMul": _dynamic_matmul,
        "GatherBlockQuantized": _table,
        "MatMulIntegerToFloat": _integer_to_float,
        "MatMulNBits": _blocks,
    }
)
