"""Rotations of pairs of features by tables of angles, found from the Concat that joins the pairs.

Features ``(a, b)`` of a pair become ``(a·cos - b·sin, a·sin + b·cos)``. A pair is made of the same
place in the first and the second half of the last axis, or of neighbours there (*interleaved*).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxopt.graph import attribute, is_op, only_consumer
from onnxopt_passes.fuse._algebra import Monomial, expand, leak, monomial
from onnxopt_passes.fuse._features import Features, features_of, size_of
from onnxopt_passes.simplify._expression import Number
from onnxopt_passes.simplify._facts import Facts

_LONGEST = 16
_SYMBOLS = 4
_FEATURES = -1
_ARITHMETIC = ("Add", "Mul", "Neg", "Sub")


@dataclass(frozen=True)
class Tables:
    """Cosines and sines of the angles, as they are multiplied.

    Attributes:
        cos: The cosines.
        sin: The sines.
        sign: -1 where the rotation goes the other way round.
        doubled: Whether they have both features of a pair, with equal angles.
    """

    cos: ir.Value
    sin: ir.Value
    sign: float
    doubled: bool


@dataclass(frozen=True)
class Rotation:
    """``last`` computes ``source`` with its pairs of features rotated.

    Attributes:
        source: What is rotated.
        tables: By what angles.
        interleaved: Whether pairs are neighbours.
        size: How many of the features are rotated, the first ones; the rest stays as it is.
        nodes: All nodes that take part.
        last: The node that computes the result.
    """

    source: ir.Value
    tables: Tables
    interleaved: bool
    size: int
    nodes: frozenset[ir.Node]
    last: ir.Node

    def leak(self) -> ir.Value | None:
        """A value between that others read too."""
        return leak(self.nodes, self.last)


@dataclass(frozen=True)
class _Turn:
    """A rotation of some pairs of features.

    Attributes:
        pairs: The features, in order.
        alone: The value that has these features and no more, where there is one.
        tables: By what angles.
        nodes: All nodes that take part.
        last: The node that computes the rotated features.
    """

    pairs: Features
    alone: ir.Value | None
    tables: Tables
    nodes: frozenset[ir.Node]
    last: ir.Node


@dataclass(frozen=True)
class _Joined:
    """Both features of all pairs, back in one tensor.

    Attributes:
        halves: The first features, the second features.
        interleaved: Whether they are joined as neighbours.
        nodes: The nodes that join.
        last: The last of these.
    """

    halves: tuple[ir.Value, ir.Value]
    interleaved: bool
    nodes: frozenset[ir.Node]
    last: ir.Node


class Rotations:
    """Finds rotations in one model."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def at(self, node: ir.Node, version: int) -> Rotation | None:
        """The rotation whose pairs a Concat joins."""
        joined = self._joined(node)
        if joined is None:
            return None
        found = self._turned(joined, version) or self._rotated(joined, version)
        return None if found is None else self._whole(found, joined.interleaved, version)

    def _joined(self, node: ir.Node) -> _Joined | None:
        if not is_op(node, "Concat") or len(node.inputs) != 2:
            return None
        first, second = node.inputs
        shape = self._facts.shape(node.outputs[0])
        axis = attribute(node, "axis", _FEATURES)
        if first is None or second is None or shape is None:
            return None
        if not isinstance(axis, int) or axis not in (-1, len(shape) - 1):
            return None
        above = [value.producer() for value in (first, second)]
        if all(is_op(one, "Unsqueeze", "Reshape") for one in above):
            return self._stacked(node, (first, second), shape)
        return _Joined((first, second), interleaved=False, nodes=frozenset({node}), last=node)

    def _stacked(
        self, node: ir.Node, columns: tuple[ir.Value, ir.Value], shape: tuple[Number, ...]
    ) -> _Joined | None:
        """Columns side by side, read row by row as neighbours along one axis."""
        flat = only_consumer(node.outputs[0])
        inner = [value.producer() for value in columns]
        sources = [one.inputs[0] for one in inner if one is not None]
        first, second = sources
        whole = None if flat is None else self._facts.shape(flat.outputs[0])
        parts = self._facts.shape(first)
        if flat is None or whole is None or first is None or second is None or parts is None:
            return None
        if not is_op(flat, "Reshape", "Flatten") or shape[-1] != 2 or shape[:-1] != parts:
            return None
        size = parts[-1]
        if not isinstance(size, int) or whole != (*parts[:-1], 2 * size):
            return None
        nodes = {node, flat, *(one for one in inner if one is not None)}
        return _Joined((first, second), interleaved=True, nodes=frozenset(nodes), last=flat)

    def _turned(self, joined: _Joined, version: int) -> _Turn | None:
        """``x·cos + (-b, a)·sin``: the pairs are turned by a right angle first."""
        first, second = (_signed(value) for value in joined.halves)
        pairs = self._pairs(second.value, first.value, joined, version)
        if pairs is None or first.factor == second.factor:
            return None
        turned = joined.last.outputs[0]
        scaled = only_consumer(turned)
        last = None if scaled is None else only_consumer(scaled.outputs[0])
        if not is_op(scaled, "Mul") or last is None or not is_op(last, "Add", "Sub"):
            return None
        for x in _leaves(last.outputs[0]):
            if features_of(x, self._facts, version) != pairs:
                continue
            for cos, sin in _factors(last, x, turned):
                total = expand(last.outputs[0], {x, turned, cos, sin})
                sign = _sign(None if total is None else total.terms, x, turned, cos, sin)
                if total is None or sign is None:
                    continue
                tables = Tables(cos, sin, sign * second.factor, doubled=True)
                nodes = total.nodes | joined.nodes | first.nodes | second.nodes
                return _Turn(pairs, x, tables, nodes, last)
        return None

    def _rotated(self, joined: _Joined, version: int) -> _Turn | None:
        """``(a·cos - b·sin, a·sin + b·cos)``: each feature is rotated by itself."""
        parts = _leaves(joined.halves[0])
        for a in parts:
            for b in parts:
                pairs = None if a is b else self._pairs(a, b, joined, version)
                found = None if pairs is None else _by_feature(joined, a, b)
                if pairs is not None and found is not None:
                    tables, nodes = found
                    return _Turn(pairs, None, tables, nodes, joined.last)
        return None

    def _pairs(self, a: ir.Value, b: ir.Value, joined: _Joined, version: int) -> Features | None:
        """The features of which ``a`` and ``b`` are the first and the second of each pair."""
        first, second = (features_of(value, self._facts, version) for value in (a, b))
        if first is None or second is None or first.base is not second.base:
            return None
        if len(first.places) != len(second.places):
            return None
        if joined.interleaved:
            pairs = zip(first.places, second.places, strict=True)
            places = tuple(place for pair in pairs for place in pair)
        else:
            places = first.places + second.places
        start = places[0] if places else 0
        in_order = places == tuple(range(start, start + len(places)))
        return Features(first.base, places) if in_order else None

    def _whole(self, found: _Turn, interleaved: bool, version: int) -> Rotation | None:
        """The rotation with the features that pass by, where there are such."""
        base, places = found.pairs.base, found.pairs.places
        everything = tuple(range(size_of(base, self._facts) or 0))
        if places == everything:
            return _rotation(found, base, interleaved)
        whole = only_consumer(found.last.outputs[0])
        if whole is not None and is_op(whole, "Concat") and len(whole.inputs) == 2:
            rest = features_of(whole.inputs[1], self._facts, version)
            shapes = [self._facts.shape(value) for value in (base, whole.outputs[0])]
            passing = Features(base, everything[len(places) :])
            if not places[0] and rest == passing and shapes[0] == shapes[1]:
                wider = replace(found, nodes=found.nodes | {whole}, last=whole)
                return _rotation(wider, base, interleaved)
        return None if found.alone is None else _rotation(found, found.alone, interleaved)


def _rotation(found: _Turn, source: ir.Value, interleaved: bool) -> Rotation:
    size = len(found.pairs.places)
    return Rotation(source, found.tables, interleaved, size, found.nodes, found.last)


def _by_feature(
    joined: _Joined, a: ir.Value, b: ir.Value
) -> tuple[Tables, frozenset[ir.Node]] | None:
    """The angles by which each feature is rotated by itself, and the nodes that do it."""
    first, second = joined.halves
    for cos in _multipliers(first, a):
        for sin in _multipliers(first, b):
            symbols = {a, b, cos, sin}
            one, two = expand(first, symbols), expand(second, symbols)
            if one is None or two is None or len(symbols) < _SYMBOLS:
                continue
            sign = -one.terms.get(monomial(b, sin), 0.0)
            wanted = {monomial(a, cos): 1.0, monomial(b, sin): -sign}
            other = {monomial(a, sin): sign, monomial(b, cos): 1.0}
            if abs(sign) == 1.0 and dict(one.terms) == wanted and dict(two.terms) == other:
                tables = Tables(cos, sin, sign, doubled=False)
                return tables, one.nodes | two.nodes | joined.nodes
    return None


@dataclass(frozen=True)
class _Signed:
    """A value, or its negative."""

    value: ir.Value
    factor: float
    nodes: frozenset[ir.Node]


def _signed(value: ir.Value) -> _Signed:
    node = value.producer()
    if node is not None and is_op(node, "Neg") and node.inputs[0] is not None:
        return _Signed(node.inputs[0], -1.0, frozenset({node}))
    return _Signed(value, 1.0, frozenset())


def _factors(last: ir.Node, x: ir.Value, turned: ir.Value) -> Iterator[tuple[ir.Value, ir.Value]]:
    """The values that ``x`` and the turned pairs are multiplied by."""
    for cos in _multipliers(last.outputs[0], x):
        for sin in _multipliers(last.outputs[0], turned):
            if cos is not sin:
                yield cos, sin


def _multipliers(value: ir.Value, factor: ir.Value) -> Iterator[ir.Value]:
    """The values that ``factor`` is multiplied by on the way to a sum."""
    for node in _above(value):
        if is_op(node, "Mul") and factor in node.inputs:
            other = node.inputs[1] if node.inputs[0] is factor else node.inputs[0]
            if other is not None and other is not factor:
                yield other


def _leaves(value: ir.Value) -> list[ir.Value]:
    """What a sum of products is computed from."""
    found: dict[ir.Value, None] = {}
    for node in _above(value):
        found.update(dict.fromkeys(v for v in node.inputs if v is not None))
    return list(found)


def _above(value: ir.Value) -> list[ir.Node]:
    """The few arithmetic nodes that a value is computed by."""
    found: dict[ir.Node, None] = {}
    pending = [value.producer()]
    while pending and len(found) < _LONGEST:
        node = pending.pop(0)
        if node is None or node in found or not is_op(node, *_ARITHMETIC):
            continue
        found[node] = None
        pending += [v.producer() for v in node.inputs if v is not None]
    return list(found)


def _sign(
    terms: Mapping[Monomial, float] | None,
    x: ir.Value,
    turned: ir.Value,
    cos: ir.Value,
    sin: ir.Value,
) -> float | None:
    """The sign of the turned pairs in ``x·cos ± turned·sin``; None where it is another formula."""
    straight, across = monomial(x, cos), monomial(turned, sin)
    if terms is None or set(terms) != {straight, across} or terms[straight] != 1.0:
        return None
    return terms[across] if abs(terms[across]) == 1.0 else None
