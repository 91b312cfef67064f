"""Arithmetic read as polynomials, so that every spelling of a formula comes out the same.

Add, Sub, Mul, Div, Neg, Reciprocal, Sum and whole powers of a few chosen values (the *leaves*) are
expanded into a sum of monomials with whole, possibly negative, exponents.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import constant_tensor, is_op, label
from onnxopt_passes.fuse._ramp import close

Monomial = frozenset[tuple[ir.Value, int]]
"""Values with their exponents, none of them 0; the empty one is the number 1."""

ONE: Monomial = frozenset()
ARITHMETIC = ("Add", "Div", "Identity", "Mul", "Neg", "Pow", "Reciprocal", "Sub", "Sum")
FIRST_OPSET = 7
"""Before it, elementwise operators broadcast by attributes."""

View = Callable[[ir.Node], ir.Value | None]
"""Gives the input that a node passes on unchanged, or None where it does not."""

_MOST_NODES = 40
_MOST_TERMS = 8
_MOST_POWER = 4


@dataclass(frozen=True)
class Polynomial:
    """A sum of ``coefficient · monomial``.

    Attributes:
        terms: Coefficients by monomial, none of them 0.
        nodes: The nodes that compute it from its leaves.
        constant_rank: The highest rank of the numbers in it, which the result has at least.
    """

    terms: Mapping[Monomial, float]
    nodes: frozenset[ir.Node] = frozenset()
    constant_rank: int = 0

    def is_multiple_of(
        self, wanted: Mapping[Monomial, float], dtype: ir.DataType | None
    ) -> float | None:
        """The ``k`` for which this is ``k·wanted`` up to rounding to a type, or None."""
        if self.terms.keys() != wanted.keys() or not wanted:
            return None
        ratios = [self.terms[monomial] / factor for monomial, factor in wanted.items()]
        return ratios[0] if all(close(ratio, ratios[0], dtype) for ratio in ratios) else None


def monomial(*values: ir.Value) -> Monomial:
    """The product of some values."""
    product = ONE
    for value in values:
        product = _times(product, frozenset({(value, 1)}))
    return product


def power(value: ir.Value, exponent: int) -> Monomial:
    """A whole power of one value."""
    return frozenset({(value, exponent)})


def expand(
    value: ir.Value, leaves: Collection[ir.Value], view: View | None = None
) -> Polynomial | None:
    """``value`` as a polynomial in the leaves and in constants of several elements.

    None where it depends on anything else, or is too large to be a formula anybody would look for.
    """
    return _Expansion(frozenset(leaves), view).of(value)


def float_type(nodes: Iterable[ir.Node]) -> ir.DataType | None:
    """The floating-point type that some nodes of one formula compute in, where known."""
    for node in nodes:
        for value in (*node.outputs, *node.inputs):
            tensor = constant_tensor(value)
            typed = value if tensor is None else tensor
            dtype = None if typed is None else typed.dtype
            if dtype is not None and dtype.is_floating_point():
                return dtype
    return None


def leak(nodes: Iterable[ir.Node], last: ir.Node) -> ir.Value | None:
    """A value that some nodes compute on the way to ``last`` and that others read too."""
    inside = set(nodes)
    for node in sorted(inside - {last}, key=label):
        for value in node.outputs:
            if value.is_graph_output() or any(use.node not in inside for use in value.uses()):
                return value
    return None


def readers(value: ir.Value, op_types: Collection[str], most: int = 16) -> list[ir.Node]:
    """The nodes of some types that a value reaches through each other, nearest first."""
    found: dict[ir.Node, None] = {}
    pending = [value]
    while pending and len(found) < most:
        current = pending.pop(0)
        producer = value.producer()
        for node, _ in current.uses():
            same_graph = producer is None or node.graph is producer.graph
            if same_graph and is_op(node, *op_types) and node not in found:
                found[node] = None
                pending.extend(node.outputs)
    return list(found)


class _Expansion:
    """One expansion, with what it has seen so far."""

    def __init__(self, leaves: frozenset[ir.Value], view: View | None) -> None:
        self._leaves, self._view = leaves, view
        self._known: dict[ir.Value, Polynomial | None] = {}

    def of(self, value: ir.Value | None) -> Polynomial | None:
        if value is None or len(self._known) > _MOST_NODES:
            return None
        if value not in self._known:
            self._known[value] = None
            self._known[value] = self._read(value)
        return self._known[value]

    def _read(self, value: ir.Value) -> Polynomial | None:
        if value in self._leaves:
            return Polynomial({power(value, 1): 1.0})
        tensor = constant_tensor(value)
        if tensor is not None:
            return _of_constant(value, tensor)
        node = value.producer()
        if node is None or len(node.outputs) != 1:
            return None
        source = self._view(node) if self._view is not None else None
        if source is None and not is_op(node, *ARITHMETIC):
            return None
        result = self._of_node(node) if source is None else self.of(source)
        if result is None or len(result.terms) > _MOST_TERMS:
            return None
        return Polynomial(result.terms, result.nodes | {node}, result.constant_rank)

    def _of_node(self, node: ir.Node) -> Polynomial | None:
        operands = [found for value in node.inputs if (found := self.of(value)) is not None]
        if len(operands) < len(node.inputs) or not operands:
            return None
        if len(operands) == 1:
            return _unary(node.op_type, operands[0])
        if node.op_type in ("Add", "Sum"):
            return _sum(operands)
        return _binary(node.op_type, operands[0], operands[1])


def _unary(op_type: str, operand: Polynomial) -> Polynomial | None:
    match op_type:
        case "Identity" | "Sum":
            return operand
        case "Neg":
            return _scaled(operand, -1.0)
        case "Reciprocal":
            return _power(operand, -1)
    return None


def _binary(op_type: str, left: Polynomial, right: Polynomial) -> Polynomial | None:
    match op_type:
        case "Sub":
            return _sum([left, _scaled(right, -1.0)])
        case "Mul":
            return _product(left, right)
        case "Div":
            inverse = _power(right, -1)
            return None if inverse is None else _product(left, inverse)
        case "Pow":
            return _to_the(left, right)
    return None


def _of_constant(value: ir.Value, tensor: ir.TensorProtocol) -> Polynomial | None:
    if not tensor.dtype.is_floating_point():
        return _whole_number(tensor)
    if tensor.size != 1:
        return Polynomial({power(value, 1): 1.0})
    number = float(tensor.numpy().astype("float64").item())
    return Polynomial({ONE: number} if number else {}, frozenset(), len(tensor.shape))


def _whole_number(tensor: ir.TensorProtocol) -> Polynomial | None:
    """An integer, which may be the exponent of a Pow."""
    if tensor.size != 1 or tensor.dtype not in {ir.DataType.INT32, ir.DataType.INT64}:
        return None
    number = float(tensor.numpy().item())
    return Polynomial({ONE: number} if number else {}, frozenset(), len(tensor.shape))


def _sum(summands: list[Polynomial]) -> Polynomial:
    terms: dict[Monomial, float] = {}
    for summand in summands:
        for key, factor in summand.terms.items():
            terms[key] = terms.get(key, 0.0) + factor
    return _made({key: factor for key, factor in terms.items() if factor}, summands)


def _product(left: Polynomial, right: Polynomial) -> Polynomial:
    terms: dict[Monomial, float] = {}
    for one, factor in left.terms.items():
        for other, by in right.terms.items():
            key = _times(one, other)
            terms[key] = terms.get(key, 0.0) + factor * by
    return _made({key: factor for key, factor in terms.items() if factor}, [left, right])


def _scaled(value: Polynomial, by: float) -> Polynomial:
    return _made({key: factor * by for key, factor in value.terms.items()}, [value])


def _power(base: Polynomial, exponent: int) -> Polynomial | None:
    """A whole power; a negative one only of a single monomial."""
    if exponent < 0:
        if len(base.terms) != 1:
            return None
        (key, factor) = next(iter(base.terms.items()))
        inverse = frozenset((value, -by) for value, by in key)
        base = _made({inverse: 1.0 / factor}, [base])
    result = Polynomial({ONE: 1.0})
    for _ in range(abs(exponent)):
        result = _product(result, base)
        if len(result.terms) > _MOST_TERMS:
            return None
    return result


def _to_the(base: Polynomial, exponent: Polynomial) -> Polynomial | None:
    number = exponent.terms.get(ONE, 0.0)
    whole = set(exponent.terms) <= {ONE} and number == int(number) and abs(number) <= _MOST_POWER
    result = _power(base, int(number)) if whole and number else None
    return None if result is None else _made(result.terms, [result, exponent])


def _made(terms: Mapping[Monomial, float], sources: list[Polynomial]) -> Polynomial:
    nodes = frozenset[ir.Node]().union(*(source.nodes for source in sources))
    return Polynomial(terms, nodes, max(source.constant_rank for source in sources))


def _times(left: Monomial, right: Monomial) -> Monomial:
    exponents = dict(left)
    for value, by in right:
        exponents[value] = exponents.get(value, 0) + by
    return frozenset((value, by) for value, by in exponents.items() if by)
