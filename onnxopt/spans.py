"""Which values 8-bit inputs may take, where a model's nodes say so."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

Span = tuple[int, int]
"""The lowest value and the one above the highest."""

_BYTES = {ir.DataType.UINT8: (0, 256), ir.DataType.INT8: (-128, 128)}
_SURELY_THERE = 2
_MOVED = frozenset(
    {"Cast", "Concat", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
    | {"Tile", "Transpose", "Unsqueeze"}
)
_COMPUTED = frozenset({"Add", "Clip", "Div", "Max", "Min", "Mod", "Mul", "Sub"})
_PICKED = frozenset(
    {("Gather", 1), ("GatherElements", 1), ("GatherND", 1), ("OneHot", 0), ("Scatter", 1)}
    | {("ScatterElements", 1), ("ScatterND", 1)}
)
_NUMBERS = frozenset(
    {"Conv", "ConvInteger", "ConvTranspose", "DequantizeLinear", "Gemm", "MatMulInteger"}
)


def span_of(value: ir.Value) -> Span | None:
    """The values that an 8-bit input may take; None where its readers do not say, or it is wider.

    What picks rows of a table of n is below n, and below 2 where n is not known. What nothing but
    a quantized or linear layer reads, by way of scaling alone, takes all values. Masks and whatever
    else meets other activations first are neither.
    """
    whole = None if value.dtype is None else _BYTES.get(value.dtype)
    if whole is None:
        return None
    rows: list[int] = []
    is_number = False
    is_else = False
    for node, index, is_itself in _readers(value):
        if (node.op_type, index) in _PICKED:
            rows.append(_rows(node) if is_itself else _SURELY_THERE)
        elif node.op_type in _NUMBERS or node.op_type.startswith("QLinear"):
            is_number = True
        elif node.op_type not in _MOVED and not _is_scaled(node, index):
            is_else = True
    if rows:
        return 0, min(*rows, whole[1])
    return whole if is_number and not is_else else None


def _readers(value: ir.Value) -> Iterator[tuple[ir.Node, int, bool]]:
    """The nodes that read a value or what is moved or computed from it, with the operand's position
    and whether that operand is the value itself, moved or cast at most.
    """
    pending, seen = [(value, True)], {value}
    while pending:
        current, is_itself = pending.pop()
        for node, index in current.uses():
            yield node, index, is_itself
            if node.op_type not in _MOVED | _COMPUTED:
                continue
            made = [output for output in node.outputs if output not in seen]
            seen.update(made)
            pending += [(output, is_itself and node.op_type in _MOVED) for output in made]


def _rows(node: ir.Node) -> int:
    """How many rows a Gather chooses from; what is sure where that is open."""
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    axis = node.attributes.get("axis")
    if node.op_type != "Gather" or shape is None or (axis is not None and axis.is_ref()):
        return _SURELY_THERE
    at = 0 if axis is None else axis.as_int()
    size = shape[at] if -len(shape) <= at < len(shape) else None
    return size if isinstance(size, int) and size > 0 else _SURELY_THERE


def _is_scaled(node: ir.Node, index: int) -> bool:
    """Whether a node computes with constants next to the operand at this position."""
    others = [other for at, other in enumerate(node.inputs) if at != index and other is not None]
    return node.op_type in _COMPUTED and all(_is_constant(other) for other in others)


def _is_constant(value: ir.Value) -> bool:
    producer = value.producer()
    made_so = producer is not None and producer.op_type == "Constant"
    return made_so or (value.is_initializer() and not value.is_graph_input())
