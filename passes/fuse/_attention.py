"""Attention ``Softmax(factor·Q·Kᵀ + mask)·V``, found from its Softmax."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import attribute, is_constant, is_op, only_consumer
from onnxopt_passes.fuse._algebra import expand, leak, power
from onnxopt_passes.fuse._shape import Layouts

_RANK = 4
_LONGEST = 4
_OLD_DEFAULT_AXIS = 1
_AXIS_OPSET = 13


@dataclass(frozen=True)
class Scores:
    """``factor · left @ right``, the product of a MatMul with a number.

    Attributes:
        product: The MatMul.
        factor: The number, with those on its operands.
        queries: Its left operand without a factor.
        keys: Its right operand without a factor, transposed for the product.
        nodes: The nodes that take part.
        constant_rank: The highest rank of the numbers.
    """

    product: ir.Node
    factor: float
    queries: ir.Value
    keys: ir.Value
    nodes: frozenset[ir.Node]
    constant_rank: int


@dataclass(frozen=True)
class Attention:
    """``last`` computes ``Softmax(scores + mask)·values``."""

    scores: Scores
    mask: ir.Value | None
    values: ir.Value
    nodes: frozenset[ir.Node]
    last: ir.Node

    def leak(self) -> ir.Value | None:
        """A value between that others read too."""
        return leak(self.nodes, self.last)


def read_attention(node: ir.Node, layouts: Layouts, version: int) -> Attention | None:
    """The attention of four axes that a Softmax over its last axis is part of."""
    argument = node.inputs[0] if is_op(node, "Softmax") else None
    last = None if argument is None else only_consumer(node.outputs[0])
    if argument is None or last is None or not is_op(last, "MatMul"):
        return None
    values = last.inputs[1]
    if last.inputs[0] is not node.outputs[0] or values is None or not _over_last(node, version):
        return None
    found = _masked(argument)
    if found is None:
        return None
    scores, mask, nodes = found
    sources = (scores.queries, scores.keys, values)
    if any(layouts[value].rank != _RANK for value in sources) or scores.constant_rank > _RANK:
        return None
    return Attention(scores, mask, values, scores.nodes | nodes | {node, last}, last)


def read_scores(value: ir.Value) -> Scores | None:
    """Read a value as a number times a product of two variables."""
    product = _above(value)
    if product is None:
        return None
    total = expand(value, {product.outputs[0]})
    factor = None if total is None else total.terms.get(power(product.outputs[0], 1))
    left, right = (_unscaled(operand) for operand in product.inputs)
    if total is None or factor is None or len(total.terms) > 1 or left is None or right is None:
        return None
    nodes = total.nodes | left.nodes | right.nodes | {product}
    rank = max(total.constant_rank, left.constant_rank, right.constant_rank)
    whole = factor * left.factor * right.factor
    return Scores(product, whole, left.value, right.value, nodes, rank)


def _masked(
    value: ir.Value,
) -> tuple[Scores, ir.Value | None, frozenset[ir.Node]] | None:
    """Scores, and what is added to them."""
    scores = read_scores(value)
    if scores is not None:
        return scores, None, frozenset()
    node = value.producer()
    if node is None or not is_op(node, "Add"):
        return None
    left, right = node.inputs
    for inner, mask in ((left, right), (right, left)):
        scores = None if inner is None else read_scores(inner)
        if scores is not None:
            return scores, mask, frozenset({node})
    return None


def _above(value: ir.Value) -> ir.Node | None:
    """The MatMul that a value is a multiple of, by few steps."""
    node = value.producer()
    for _ in range(_LONGEST):
        if node is None or is_op(node, "MatMul"):
            return node
        if not is_op(node, "Mul", "Div", "Identity"):
            return None
        variables = [v for v in node.inputs if v is not None and not is_constant(v)]
        node = variables[0].producer() if len(variables) == 1 else None
    return None


@dataclass(frozen=True)
class _Multiple:
    """A number times a value."""

    value: ir.Value
    factor: float = 1.0
    nodes: frozenset[ir.Node] = frozenset()
    constant_rank: int = 0


def _unscaled(value: ir.Value | None) -> _Multiple | None:
    """A value as a number times another."""
    if value is None:
        return None
    node = value.producer()
    if node is None or not is_op(node, "Mul", "Div") or only_consumer(value) is None:
        return _Multiple(value)
    variables = [v for v in node.inputs if v is not None and not is_constant(v)]
    total = expand(value, variables) if len(variables) == 1 else None
    if total is None or set(total.terms) != {power(variables[0], 1)}:
        return _Multiple(value)
    factor = total.terms[power(variables[0], 1)]
    return _Multiple(variables[0], factor, total.nodes, total.constant_rank)


def _over_last(node: ir.Node, version: int) -> bool:
    attr = node.attributes.get("axis")
    if attr is not None and attr.is_ref():
        return False
    default = -1 if version >= _AXIS_OPSET else _OLD_DEFAULT_AXIS
    return attribute(node, "axis", default) in (-1, _RANK - 1)
