"""Attributes of nodes, also where newer opsets have an input instead."""

from __future__ import annotations

import onnx_ir as ir

from onnxopt import graph as edit

PLAIN = frozenset(
    {
        ir.AttributeType.FLOAT,
        ir.AttributeType.FLOATS,
        ir.AttributeType.INT,
        ir.AttributeType.INTS,
        ir.AttributeType.STRING,
        ir.AttributeType.STRINGS,
    }
)
"""Numbers and texts: attributes that hold no tensors and no graphs."""


def ints_of(node: ir.Node, name: str) -> list[int] | None:
    """An attribute that is a list of integers; None where it is absent."""
    attr = node.attributes.get(name)
    if attr is None or attr.is_ref():
        return None
    return [int(x) for x in attr.as_ints()]


def axes_of(node: ir.Node, version: int, *, since: int) -> list[int] | None:
    """The axes as written: the second input from opset ``since`` on, an attribute before.

    None where there are none, or where they are not constant.
    """
    if version < since:
        return ints_of(node, "axes")
    array = edit.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if array is None else [int(x) for x in array.reshape(-1)]
