"""Makes two conversions in a row one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._bypass import pass_on
from onnxopt_passes.simplify._facts import facts_of

_T = ir.DataType
_INTEGERS = {
    _T.BOOL: (0, 1),
    _T.UINT8: (0, 8),
    _T.UINT16: (0, 16),
    _T.UINT32: (0, 32),
    _T.UINT64: (0, 64),
    _T.INT8: (1, 8),
    _T.INT16: (1, 16),
    _T.INT32: (1, 32),
    _T.INT64: (1, 64),
}
_MANTISSA = {_T.BFLOAT16: 8, _T.FLOAT16: 11, _T.FLOAT: 24, _T.DOUBLE: 53}
_WIDER_FLOATS = {
    _T.FLOAT16: (_T.FLOAT, _T.DOUBLE),
    _T.BFLOAT16: (_T.FLOAT, _T.DOUBLE),
    _T.FLOAT: (_T.DOUBLE,),
}


@dataclass(frozen=True)
class MergeCasts(Pass):
    """Cast(Cast(x: A, B), C) → Cast(x, C), and x where C is A, if B holds every value of A.

    Left alone: floats to integers, where what is out of range depends on the way; integers by
    way of floats to a type too small for them; text; the 8-bit floats.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Cast"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge along chains, first to last, in every graph and function."""
        facts, editor = facts_of(model), Editor(model)
        for node in edit.all_nodes(model):
            if not edit.is_op(node, "Cast") or node.inputs[0] is None:
                continue
            inner = node.inputs[0].producer()
            if inner is None or not edit.is_op(inner, "Cast") or inner.inputs[0] is None:
                continue
            source, middle, result = inner.inputs[0], _to(inner), _to(node)
            first = facts.dtype(source)
            if first is None or not _mergeable(first, middle, result):
                continue
            if first == result:
                yield from pass_on(node, source, editor)
                continue
            node.replace_input_with(0, source)
            editor.sweep(inner)
            yield Note.applied(node, f"converts from {first.name} without going by {middle.name}")


def _to(node: ir.Node) -> ir.DataType:
    to = edit.attribute(node, "to", 0)
    return ir.DataType(to) if isinstance(to, int) else ir.DataType.UNDEFINED


def _mergeable(first: ir.DataType, middle: ir.DataType, result: ir.DataType) -> bool:
    if first == middle:
        return True
    if not _holds(middle, first):
        return False
    if first in _MANTISSA:
        return result in _MANTISSA
    if result in _MANTISSA or result == _T.BOOL:
        return True
    return result in _INTEGERS and (middle in _INTEGERS or _holds(result, first))


def _holds(wide: ir.DataType, narrow: ir.DataType) -> bool:
    """Whether a type has every value of another."""
    if wide == narrow:
        return True
    if narrow in _MANTISSA:
        return wide in _WIDER_FLOATS.get(narrow, ())
    if narrow not in _INTEGERS:
        return False
    signed, bits = _INTEGERS[narrow]
    if wide in _MANTISSA:
        return bits - signed <= _MANTISSA[wide]
    if wide not in _INTEGERS:
        return False
    other_signed, other_bits = _INTEGERS[wide]
    return other_signed >= signed and other_bits - other_signed >= bits - signed
