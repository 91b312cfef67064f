"""Which inputs and outputs of a node may be 16-bit floats, by the operator's own schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from onnxopt.graph import attribute, subgraphs
from onnxopt_passes.precision._half import Half

_OWN_GATES = frozenset({"BiasGelu", "FastGelu", "Gelu", "QuickGelu"})
_MICROSOFT = "com.microsoft"
_TYPED_LIKE = frozenset({"Bernoulli", "EyeLike", "RandomNormalLike", "RandomUniformLike"})
"""Ops that make another type than they take only where an attribute says so."""
_ALL = 1 << 30


@dataclass(frozen=True)
class Slots:
    """Positions of the float32 inputs and outputs that change together; no inputs for a Cast."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


DtypeOf = Callable[[ir.Value], ir.DataType | None]


def half_slots(node: ir.Node, version: int, half: Half, dtype_of: DtypeOf) -> Slots | str:
    """What changes when a node computes in 16 bits, or why it cannot.

    Args:
        node: The node.
        version: The opset in force.
        half: The type.
        dtype_of: The element type of a value.
    """
    if node.domain == "" and node.op_type == "Cast":
        wanted = attribute(node, "to", 0) == ir.DataType.FLOAT
        return Slots((), (0,)) if wanted else "it makes another type"
    if node.domain == _MICROSOFT and node.op_type in _OWN_GATES:
        return Slots(tuple(range(len(node.inputs))), (0,))
    if subgraphs(node):
        return "its subgraph stays float32"
    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return "its operator is unknown"
    if any(value is not None and dtype_of(value) is None for value in node.inputs):
        return "the types of its inputs are unknown"
    if node.op_type in _TYPED_LIKE and "dtype" not in node.attributes:
        return "its output has the type of its input, whatever that is"
    if any(map(_is_no_tensor, (*schema.inputs, *schema.outputs))):
        return "sequences stay float32"
    inputs = _positions(node.inputs, schema.inputs, half, dtype_of)
    variables = {_formal(schema.inputs, at).type_str for at in inputs}
    outputs = tuple(
        at
        for at in _positions(node.outputs, schema.outputs, half, dtype_of)
        if _formal(schema.outputs, at).type_str in variables
    )
    if not inputs:
        return f"no input of {node.op_type} can be {half.dtype.name.lower()}"
    return Slots(inputs, outputs)


def output_dtype(node: ir.Node, at: int, version: int, dtype_of: DtypeOf) -> ir.DataType | None:
    """The element type of an output, by those of the inputs that share its type variable."""
    if node.op_type == "Cast" and node.domain == "":
        return ir.DataType(int(str(attribute(node, "to", 0))))
    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return None
    variable = _formal(schema.outputs, at).type_str
    for place, value in enumerate(node.inputs):
        if value is not None and _formal(schema.inputs, place).type_str == variable:
            return dtype_of(value)
    return None


def _positions(
    values: Sequence[ir.Value | None],
    formals: Sequence[onnx.defs.OpSchema.FormalParameter],
    half: Half,
    dtype_of: DtypeOf,
) -> tuple[int, ...]:
    return tuple(
        at
        for at, value in enumerate(values)
        if value is not None
        and isinstance(value.type, ir.TensorType | None)
        and dtype_of(value) == ir.DataType.FLOAT
        and half.text in _formal(formals, at).types
    )


def _is_no_tensor(formal: onnx.defs.OpSchema.FormalParameter) -> bool:
    return not any(kind.startswith("tensor(") for kind in formal.types)


def _formal(
    formals: Sequence[onnx.defs.OpSchema.FormalParameter], at: int
) -> onnx.defs.OpSchema.FormalParameter:
    """The declaration of a position; the last one may repeat."""
    return formals[min(at, len(formals) - 1)]
