"""Values split into heads, and results joined from them, by Reshape and Transpose."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import attribute, is_op, only_consumer

_SPLIT_RANK = 4
_JOINED_RANK = 3
_BY_HEAD = (0, 2, 1, 3)


@dataclass(frozen=True)
class Heads:
    """A value [batch, positions, heads·size] and its number of heads.

    Attributes:
        value: The value.
        count: How many heads it is split into or joined from.
        node: The node at its end of the Reshape and Transpose.
    """

    value: ir.Value
    count: int
    node: ir.Node


def split_heads(value: ir.Value, order: tuple[int, ...] | None = None) -> Heads | None:
    """Read ``value`` as split by Reshape to [batch, positions, heads, size] and Transpose.

    With ``order``, the Transpose is already taken off and would have had this order.
    """
    node = value.producer()
    if order is None:
        if node is None or not is_op(node, "Transpose") or node.inputs[0] is None:
            return None
        perm = attribute(node, "perm", ())
        order = tuple(perm) if isinstance(perm, tuple | list) else ()
        value = node.inputs[0]
        node = value.producer()
    if order != _BY_HEAD or node is None or not is_op(node, "Reshape"):
        return None
    source, shape = node.inputs[0], value.shape
    if source is None or source.shape is None or shape is None:
        return None
    if len(source.shape) != _JOINED_RANK or len(shape) != _SPLIT_RANK:
        return None
    width, count, size = source.shape[2], shape[2], shape[3]
    if not (isinstance(width, int) and isinstance(count, int) and isinstance(size, int)):
        return None
    return Heads(source, count, node) if width == count * size else None


def joined_heads(node: ir.Node) -> Heads | None:
    """Read the reader of a node as Transpose and Reshape to [batch, positions, heads·size]."""
    transpose = only_consumer(node.outputs[0])
    if transpose is None or not is_op(transpose, "Transpose"):
        return None
    perm = attribute(transpose, "perm", ())
    reshape = only_consumer(transpose.outputs[0])
    order = tuple(perm) if isinstance(perm, tuple | list) else ()
    if order != _BY_HEAD or reshape is None or not is_op(reshape, "Reshape"):
        return None
    value, shape = reshape.outputs[0], transpose.outputs[0].shape
    if value.shape is None or shape is None or len(value.shape) != _JOINED_RANK:
        return None
    width, count, size = value.shape[2], shape[2], shape[3]
    if not (isinstance(width, int) and isinstance(count, int) and isinstance(size, int)):
        return None
    return Heads(value, count, reshape) if width == count * size else None
