"""What a kernel's time is spent on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

Kind = Literal["integer", "float", "conversion", "layout", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_CONVERSIONS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"}
_LAYOUTS = {"ReorderInput", "ReorderOutput", "Transpose"}
_CONTROL = {"If", "Loop", "Scan"}
_COMPILED = "ExecutionProvider"  # the operator is then called after its provider
_NARROW = {"int8", "uint8", "int4", "uint4", "int2", "uint2"}
_FLOATS = ("float", "double", "bfloat")


def kind_of(op: str, inputs: Sequence[str], outputs: Sequence[str]) -> Kind:
    """Sort a kernel by its operator and the types it reads and writes.

    ``conversion`` changes the number format, ``layout`` the order in memory; ``integer`` computes
    on integers of at most 8 bits, ``float`` on floating point; ``other`` is the rest: arithmetic
    on shapes and indices, strings, what If, Loop and Scan need for themselves, and parts that a
    provider compiled as a whole.

    Args:
        op: The operator.
        inputs: ONNX Runtime's names of the input types (``float``, ``uint8`` …).
        outputs: The same for the outputs.
    """
    if op in _CONVERSIONS:
        return "conversion"
    if op in _LAYOUTS:
        return "layout"
    if op in _CONTROL or _COMPILED in op:
        return "other"
    if _NARROW.intersection(inputs):
        return "integer"
    if any(kind.startswith(_FLOATS) for kind in (*inputs, *outputs)):
        return "float"
    return "other"
