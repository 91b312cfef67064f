"""Adds up constants that are added in a row, and multiplies factors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._arrays import Array

_BROADCASTS_SINCE = 7
_LARGEST_FACTOR = 1e6


class _Operand(NamedTuple):
    """x + number, or x · number; ``divides`` where it is written as a division."""

    source: ir.Value
    kind: Literal["Add", "Mul"]
    number: Array
    sign: int
    divides: bool


@dataclass(frozen=True)
class MergeConstantOperands(Pass):
    """(x + a) + b → x + (a + b), (x · a) · b → x · (a · b), also with - and /.

    Where nothing else reads what is in between, and a or b is one number or both have one shape,
    so that no weight grows. For floats the sum must not cancel and factors must stay between 1e-6
    and 1e6: the bits of x would be lost in between, or overflow, where now they are not. Of
    integers only sums and products, which wrap around the same way.
    """

    exactness = Exactness.ROUNDING
    looks_for = frozenset({"Add", "Div", "Mul", "Sub"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge along chains, first to last, in every graph and function."""
        editor = Editor(model)
        for node, version in edit.nodes_with_opset(model):
            outer = _operand(node) if version >= _BROADCASTS_SINCE else None
            inner_node = outer.source.producer() if outer is not None else None
            if outer is None or inner_node is None or edit.only_consumer(outer.source) is not node:
                continue
            inner = _operand(inner_node)
            if inner is None or inner.kind != outer.kind:
                continue
            merged, op_type = _merged(inner, outer)
            if merged is None:
                yield Note.refused(node, "its constant and the one before would lose precision")
                continue
            constant = editor.constant(node, f"{node.outputs[0].name}/{op_type.lower()}", merged)
            node.op_type = op_type
            node.replace_input_with(0, inner.source)
            node.replace_input_with(1, constant)
            edit.record_origin(node, [inner_node, node])
            editor.sweep(inner_node)
            yield Note.applied(node, f"takes in the constant of {edit.label(inner_node)}")


def _operand(node: ir.Node) -> _Operand | None:
    if not edit.is_op(node, "Add", "Sub", "Mul", "Div") or len(node.inputs) != 2:
        return None
    commutes = node.op_type in ("Add", "Mul")
    for source, other in (node.inputs, node.inputs[::-1])[: 2 if commutes else 1]:
        number = edit.constant(other)
        if source is None or number is None or edit.is_constant(source):
            continue
        if number.dtype not in (np.float32, np.float64, np.int32, np.int64):
            return None
        kind: Literal["Add", "Mul"] = "Add" if node.op_type in ("Add", "Sub") else "Mul"
        sign = -1 if node.op_type == "Sub" else 1
        return _Operand(source, kind, number, sign, node.op_type == "Div")
    return None


def _merged(inner: _Operand, outer: _Operand) -> tuple[Array | None, str]:
    """The combined constant and the op that takes it; None where that is not exact enough."""
    first, second = inner.number, outer.number
    small = 1 in (first.size, second.size) or first.shape == second.shape
    if not small or first.dtype != second.dtype or first.size == 0 or second.size == 0:
        return None, ""
    if first.dtype.kind == "i":
        return _merged_integers(inner, outer)
    a, b = first.astype(np.float64) * inner.sign, second.astype(np.float64) * outer.sign
    if outer.kind == "Add":
        total = a + b
        safe = np.abs(total) >= np.maximum(np.abs(a), np.abs(b)) / 2
        return (total.astype(first.dtype) if safe.all() else None), "Add"
    if not all(_is_moderate(x) for x in (a, b)):
        return None, ""
    if inner.divides == outer.divides:
        result, op_type = a * b, "Div" if inner.divides else "Mul"
    else:
        result, op_type = (b / a if inner.divides else a / b), "Mul"
    return (result.astype(first.dtype) if _is_moderate(result) else None), op_type


def _is_moderate(factor: Array) -> bool:
    size = np.abs(factor)
    return bool(((size >= 1 / _LARGEST_FACTOR) & (size <= _LARGEST_FACTOR)).all())


def _merged_integers(inner: _Operand, outer: _Operand) -> tuple[Array | None, str]:
    if inner.divides or outer.divides:
        return None, ""
    with np.errstate(over="ignore"):
        if outer.kind == "Mul":
            return np.asarray(inner.number * outer.number), "Mul"
        first, second = inner.number * inner.sign, outer.number * outer.sign
        return np.asarray(first + second).astype(inner.number.dtype), "Add"
