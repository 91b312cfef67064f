"""Normalizations ``(x - mean)/sqrt(variance + ε)·scale + bias``, found from the root."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import Editor, constant, is_constant, is_op, nodes_with_opset, scalar
from onnxopt.transform import Note
from onnxopt_passes.fuse._algebra import (
    ARITHMETIC,
    FIRST_OPSET,
    ONE,
    Monomial,
    Polynomial,
    expand,
    float_type,
    leak,
    power,
    readers,
)
from onnxopt_passes.fuse._ramp import close
from onnxopt_passes.fuse._reduction import Reduction, misaligned, same_order
from onnxopt_passes.fuse._shape import Layouts

_WALKED = (*ARITHMETIC, "Expand", "Reshape", "Squeeze", "Unsqueeze")
_MEANS = ("ReduceMean", "ReduceSum", "ReduceSumSquare")


@dataclass(frozen=True)
class Affine:
    """A constant factor or summand.

    Attributes:
        array: Its values in double precision; a number has no axes.
        value: The constant itself where it is used as it stands.
    """

    array: npt.NDArray[np.float64]
    value: ir.Value | None = None

    @property
    def wide(self) -> tuple[int, ...]:
        """The axes, counted from the end, along which it varies."""
        sizes = self.array.shape
        return tuple(axis for axis in range(-len(sizes), 0) if sizes[axis] != 1)


@dataclass(frozen=True)
class Normalization:
    """``last`` computes ``(source - mean)/sqrt(variance + epsilon)·gain + bias``.

    Attributes:
        source: What is normalized.
        axes: The axes of mean and variance, counted from the end.
        centered: Whether the mean is subtracted; if not, the variance is the mean of squares.
        epsilon: Added to the variance.
        gain: The factor.
        bias: The summand.
        nodes: All nodes that take part.
        last: The node that computes the result.
        rank: The number of axes of the source, where known.
    """

    source: ir.Value
    axes: tuple[int, ...]
    centered: bool
    epsilon: float
    gain: Affine
    bias: Affine
    nodes: frozenset[ir.Node]
    last: ir.Node
    rank: int | None = None

    @property
    def is_trailing(self) -> bool:
        """Whether the last axes are normalized and no other."""
        return self.axes == tuple(range(-len(self.axes), 0))

    def sizes(self) -> tuple[int, ...] | None:
        """The sizes of the normalized axes; None where one is unknown or factor or summand have
        another: an axis of unknown size may be 1 and become longer by them.
        """
        shape, found = self.source.shape, []
        for axis in self.axes:
            size = shape[axis] if shape is not None and len(shape) >= -axis else None
            arrays = (self.gain.array, self.bias.array)
            given = [array.shape[axis] for array in arrays if array.ndim >= -axis]
            if not isinstance(size, int) or any(one not in (1, size) for one in given):
                return None
            found.append(size)
        return tuple(found)


Obstacle = Callable[[Normalization, int], str | None]
"""Why a normalization cannot be replaced under an opset: None where it can, an empty reason where
a shorter one might, ``OTHER_KIND`` where it is for another pass."""

OTHER_KIND = "it is of another kind"


def rewrite_normalizations(
    model: ir.Model,
    obstacle: Obstacle,
    replace: Callable[[Editor, Normalization], Note],
    *,
    centered: bool = True,
) -> Iterator[Note]:
    """Replace the longest normalization at each root that has no obstacle.

    Near misses are reported where they are centered or not as asked.
    """
    editor, finder = Editor(model), Normalizations(model)
    for node, version in list(nodes_with_opset(model)):
        if version < FIRST_OPSET or node.graph is None:
            continue
        refusal, miss = None, None
        for found in finder.at(node):
            if isinstance(found, Miss):
                miss = miss or (found.reason if found.centered == centered else None)
                continue
            reason = obstacle(found, version)
            if reason is None:
                yield replace(editor, found)
                refusal, miss = None, None
            if reason is None or reason == OTHER_KIND:
                break
            refusal = refusal or reason
        final = refusal or miss
        if final:
            yield Note.refused(node, final)


@dataclass(frozen=True)
class Miss:
    """Something that is nearly a normalization, with or without a mean, and why it is none."""

    reason: str
    centered: bool = True


@dataclass(frozen=True)
class _Moments:
    """What the root is taken of: ``variance(source) + epsilon``."""

    source: ir.Value
    mean: Reduction | None
    mean_factor: float
    square: Reduction
    epsilon: float
    nodes: frozenset[ir.Node]


class Normalizations:
    """Finds normalizations in one model."""

    def __init__(self, model: ir.Model) -> None:
        self.layouts = Layouts(model)

    def at(self, node: ir.Node) -> Iterator[Normalization | Miss]:
        """The normalizations whose root a node computes, longest first, or why there is none."""
        exponent = _root(node)
        moments = None if exponent == 0 else self._moments(node)
        if moments is None or isinstance(moments, Miss):
            if moments is not None:
                yield moments
            return
        below = readers(node.outputs[0], _WALKED)
        for last in reversed(below):
            found = self._read(moments, node, exponent, last)
            if found is not None:
                yield found

    def _moments(self, node: ir.Node) -> _Moments | Miss | None:
        found = _variance(node.inputs[0], self.layouts)
        if found is None:
            return None
        total, rows = found
        squares = [(row, total.terms.get(power(row.result, 1))) for row in rows]
        square, factor = next(((row, by) for row, by in squares if by), (None, None))
        if square is None or factor is None:
            return None
        epsilon = total.terms.get(ONE, 0.0)
        rest = {k: by for k, by in total.terms.items() if k not in (ONE, power(square.result, 1))}
        base, before = squared(square)
        if base is None or epsilon < 0:
            return None
        if not _is_mean(square, factor, node):
            return Miss("what it divides by is not the mean of squares")
        if rest:
            return self._from_squares(total, rest, rows, square, base, before)
        source, mean = self._centered(base, square)
        factor = 1.0 if mean is None or is_op(mean.node, "ReduceMean") else 1 / (mean.count() or 1)
        nodes = total.nodes | before | {square.node}
        if mean is not None and base.producer() is not None:
            difference = expand(base, {source, mean.result}, same_order)
            nodes |= {mean.node} | (difference.nodes if difference is not None else frozenset())
        return _Moments(source, mean, factor, square, epsilon, nodes)

    def _from_squares(
        self,
        total: Polynomial,
        rest: Mapping[Monomial, float],
        rows: list[Reduction],
        square: Reduction,
        base: ir.Value,
        before: frozenset[ir.Node],
    ) -> _Moments | None:
        """The variance as the mean of squares less the square of the mean."""
        for mean in rows:
            by = rest.get(power(mean.result, 2))
            if by is None or len(rest) > 1 or mean.source is not base or mean.axes != square.axes:
                continue
            factor = 1.0 if is_op(mean.node, "ReduceMean") else 1 / (mean.count() or 1)
            if close(-by, factor * factor, float_type([mean.node])):
                nodes = total.nodes | before | {square.node, mean.node}
                epsilon = total.terms.get(ONE, 0.0)
                return _Moments(base, mean, factor, square, epsilon, nodes)
        return None

    def _centered(self, base: ir.Value, square: Reduction) -> tuple[ir.Value, Reduction | None]:
        """The source of which ``base`` is the distance to its mean; ``base`` itself if none."""
        for mean in _reductions_of(base, self.layouts):
            if mean.axes != square.axes:
                continue
            wanted = {power(mean.source, 1): 1.0, power(mean.result, 1): -1.0 / _weight(mean)}
            found = expand(base, {mean.source, mean.result}, same_order)
            dtype = float_type([mean.node])
            factor = None if found is None else found.is_multiple_of(wanted, dtype)
            if factor is not None and abs(factor) == 1.0:
                return mean.source, mean
        return base, None

    def _read(
        self, moments: _Moments, root: ir.Node, exponent: int, last: ir.Node
    ) -> Normalization | Miss | None:
        symbols = {moments.source, root.outputs[0]}
        if moments.mean is not None:
            symbols.add(moments.mean.result)
        total = expand(last.outputs[0], symbols, same_order)
        if total is None or last not in total.nodes:
            return None
        factor = power(root.outputs[0], -exponent)
        parts = _parts(total, moments, factor)
        rank = self.layouts[moments.source].rank
        if parts is None:
            return None
        gain, bias = parts
        if total.constant_rank > (rank or 0) or max(gain.array.ndim, bias.array.ndim) > (rank or 1):
            return None
        centered = moments.mean is not None
        rows = [row for row in (moments.mean, moments.square) if row is not None]
        nodes = total.nodes | moments.nodes | {root}
        odd = misaligned(nodes, rows, moments.source)
        if odd is not None:
            return Miss(f"the shape of {odd.name} does not fit {moments.source.name}", centered)
        read = leak(nodes, last)
        if read is not None:
            return Miss(f"{read.name} is read elsewhere too", centered)
        axes = moments.square.axes
        return Normalization(
            moments.source, axes, centered, moments.epsilon, gain, bias, nodes, last, rank
        )


def squared(row: Reduction) -> tuple[ir.Value | None, frozenset[ir.Node]]:
    """What a reduction sums the squares of, and the node that squares."""
    if is_op(row.node, "ReduceSumSquare"):
        return row.source, frozenset()
    node = row.source.producer()
    if is_op(node, "Mul") and node is not None and node.inputs[0] is node.inputs[1]:
        return node.inputs[0], frozenset({node})
    if is_op(node, "Pow") and node is not None and scalar(node.inputs[1]) == 2.0:
        return node.inputs[0], frozenset({node})
    return None, frozenset()


def _root(node: ir.Node) -> int:
    """2 times the power of the variance that a node computes: 1 for a root, -1 for its inverse."""
    if is_op(node, "Sqrt"):
        return 1
    exponent = scalar(node.inputs[1]) if is_op(node, "Pow") and len(node.inputs) > 1 else None
    return {0.5: 1, -0.5: -1}.get(exponent or 0.0, 0)


def _variance(
    value: ir.Value | None, layouts: Layouts
) -> tuple[Polynomial, list[Reduction]] | None:
    """A sum of reductions and numbers, through a clamp to at least zero of all but the numbers."""
    rows = [] if value is None else _reductions_of(value, layouts)
    if value is None or not rows:
        return None
    results = {row.result for row in rows}
    clamp = _clamp(value)
    total = expand(value, results, same_order)
    if total is not None or clamp is None:
        return None if total is None else (total, rows)
    node, inner = clamp
    outside = expand(value, {node.outputs[0]}, same_order)
    inside = expand(inner, results, same_order)
    key = power(node.outputs[0], 1)
    if outside is None or inside is None or outside.terms.get(key) != 1.0 or ONE in inside.terms:
        return None
    if set(outside.terms) - {key, ONE}:
        return None
    terms = {**inside.terms, **{k: by for k, by in outside.terms.items() if k != key}}
    nodes = outside.nodes | inside.nodes | {node}
    return Polynomial(terms, nodes, max(outside.constant_rank, inside.constant_rank)), rows


def _clamp(value: ir.Value) -> tuple[ir.Node, ir.Value] | None:
    """The clamp to at least zero above a value, and what it clamps."""
    for node in _above(value):
        if is_op(node, "Relu") and node.inputs[0] is not None:
            return node, node.inputs[0]
        if is_op(node, "Max") and len(node.inputs) == 2:
            left, right = node.inputs
            if left is not None and right is not None and 0.0 in (scalar(left), scalar(right)):
                return node, right if scalar(left) == 0.0 else left
    return None


def _reductions_of(value: ir.Value, layouts: Layouts) -> list[Reduction]:
    """The means and sums that a value is computed from by arithmetic."""
    rows = [Reduction.read(node, layouts, *_MEANS) for node in _above(value)]
    return [row for row in rows if row is not None]


def _above(value: ir.Value, most: int = 12) -> list[ir.Node]:
    """The nodes above a value, up to and with the first that are no arithmetic."""
    found: dict[ir.Node, None] = {}
    pending: list[ir.Value | None] = [value]
    while pending and len(found) < most:
        current = pending.pop(0)
        node = None if current is None else current.producer()
        if node is None or node in found:
            continue
        found[node] = None
        if is_op(node, *_WALKED, "Max", "Relu"):
            pending.extend(node.inputs)
    return list(found)


def _weight(row: Reduction) -> float:
    """By what a reduction exceeds the mean."""
    return 1.0 if is_op(row.node, "ReduceMean") else float(row.count() or np.nan)


def _is_mean(row: Reduction, factor: float, node: ir.Node) -> bool:
    return close(factor * _weight(row), 1.0, float_type([node, row.node]))


def _parts(total: Polynomial, moments: _Moments, root: Monomial) -> tuple[Affine, Affine] | None:
    """Factor and summand of ``(x - mean)·root·factor + summand``; None where it is not that."""
    gains: dict[Monomial, float] = {}
    means: dict[Monomial, float] = {}
    biases: dict[Monomial, float] = {}
    mean = None if moments.mean is None else moments.mean.result
    for key, by in total.terms.items():
        symbols = {value: exponent for value, exponent in key if not is_constant(value)}
        rest = frozenset((v, exponent) for v, exponent in key if v not in symbols)
        if symbols == dict(power(moments.source, 1) | root):
            gains[rest] = by
        elif mean is not None and symbols == dict(power(mean, 1) | root):
            means[rest] = by
        elif not symbols:
            biases[rest] = by
        else:
            return None
    dtype = float_type(total.nodes)
    if len(gains) != 1:
        return None
    key, by = next(iter(gains.items()))
    balanced = {key: -by * moments.mean_factor} if mean is not None else {}
    if means.keys() != balanced.keys() or not all(
        close(means[k], balanced[k], dtype) for k in means
    ):
        return None
    gain, bias = _evaluate(gains), _evaluate(biases)
    return None if gain is None or bias is None else (gain, bias)


def _evaluate(terms: Mapping[Monomial, float]) -> Affine | None:
    """The sum of some products of constants; None of such as do not fit together."""
    if len(terms) == 1:
        key, by = next(iter(terms.items()))
        if by == 1.0 and len(key) == 1:
            value, exponent = next(iter(key))
            array = constant(value)
            if exponent == 1 and array is not None:
                return Affine(array.astype(np.float64), value)
    total = np.zeros(())
    try:
        with np.errstate(all="ignore"):
            for key, by in terms.items():
                product = np.asarray(by)
                for value, exponent in key:
                    array = constant(value)
                    if array is not None:
                        product = product * array.astype(np.float64) ** exponent
                total = total + product
    except ValueError:  # shapes that do not broadcast, in a model that cannot run
        return None
    return Affine(np.asarray(total, np.float64))
