"""Steps of GRU cells: ``h' = z∘h + (1 - z)∘n`` in its spellings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import onnx_ir as ir

from onnxopt.graph import is_op
from onnxopt_passes.recurrent._affine import Affine, Leaf
from onnxopt_passes.recurrent._cell import Cell, has_matrices, is_state
from onnxopt_passes.recurrent._operator import operator_cells
from onnxopt_passes.recurrent._trace import Gate, Trace, activation_of


@dataclass(frozen=True)
class _Blend:
    """``update∘old + (1 - update)∘new``, not yet known to be a cell."""

    update: Gate
    old: ir.Value
    new: ir.Value
    inner: tuple[ir.Value, ...]


@dataclass(frozen=True)
class _Candidate:
    """The new content: the sums of its input and state part, and the reset gate."""

    reset: Gate
    from_input: Affine
    from_state: Affine
    resets_after: bool
    inner: tuple[ir.Value, ...]


def gru_cells(trace: Trace, node: ir.Node) -> Iterator[Cell]:
    """Every reading of a sum or difference as the new state of a GRU cell."""
    yield from operator_cells(trace, node, "GRU")
    if not is_op(node, "Add", "Sum", "Sub") or len(node.inputs) != 2:
        return
    for blend in (*_lerps(trace, node), *_mixtures(trace, node)):
        squash = trace.resolve(blend.new).producer()
        activation = activation_of(squash)
        if squash is None or activation is None or squash.inputs[0] is None:
            continue
        found = _candidate(trace, squash.inputs[0], blend)
        if found is None:
            continue
        slots = (blend.update.affine, found.reset.affine, found.from_input, found.from_state)
        alike = blend.update.activation == found.reset.activation
        mixed = any(is_state(trace, leaf, blend.old) for leaf, _ in found.from_input.terms)
        if mixed or not alike or len({slot.width for slot in slots}) != 1:
            continue
        if has_matrices(trace, slots):
            yield Cell(
                kind="GRU",
                activations=(blend.update.activation, activation),
                slots=slots,
                hidden=node.outputs[0],
                previous=trace.resolve(blend.old),
                inner=(*blend.inner, *found.inner, blend.new),
                resets_after=found.resets_after,
            )


def _mixtures(trace: Trace, node: ir.Node) -> Iterator[_Blend]:
    """``u∘a + (1 - u)∘b``."""
    if is_op(node, "Sub"):
        return
    pairs = [_factors(trace, value) for value in node.inputs]
    if pairs[0] is None or pairs[1] is None:
        return
    products = tuple(value for value in node.inputs if value is not None)
    for (u, a), (v, b) in product((pairs[0], pairs[0][::-1]), (pairs[1], pairs[1][::-1])):
        for (gate, kept), (rest, other) in (((u, a), (v, b)), ((v, b), (u, a))):
            partner = trace.complement_of(rest)
            if partner is None or trace.resolve(gate) is not trace.resolve(partner):
                continue
            found = trace.gate(gate)
            mirrored = None if found is None else found.complement()
            inner = (*products, gate, rest)
            if found is not None:
                yield _Blend(found, kept, other, inner)
            if mirrored is not None:
                yield _Blend(mirrored, other, kept, inner)


def _lerps(trace: Trace, node: ir.Node) -> Iterator[_Blend]:
    """``n + z∘(h - n)``, ``h + u∘(n - h)``, ``h - u∘(h - n)``."""
    left, right = node.inputs
    for base, other in ((left, right), (right, left)):
        if base is None or other is None or (is_op(node, "Sub") and base is right):
            continue
        pair = _factors(trace, other)
        for gate, gap in () if pair is None else (pair, pair[::-1]):
            difference, found = trace.resolve(gap).producer(), trace.gate(gate)
            if difference is None or found is None or not is_op(difference, "Sub"):
                continue
            ends = tuple(trace.resolve(v) for v in difference.inputs if v is not None)
            away = ends if is_op(node, "Sub") else ends[::-1]
            if len(ends) != 2 or away[0] is not trace.resolve(base):
                continue
            inner, mirrored = (other, gate, gap), found.complement()
            yield _Blend(found, away[1], away[0], inner)
            if mirrored is not None:
                yield _Blend(mirrored, away[0], away[1], inner)


def _candidate(trace: Trace, value: ir.Value, blend: _Blend) -> _Candidate | None:
    """``x·W + (r∘h)·R`` or ``x·W + r∘(h·R + b)``."""
    whole = trace.affine(value)
    if whole is not None:
        return _reset_before(trace, whole, blend.old)
    return _reset_after(trace, value, blend.old)


def _reset_before(trace: Trace, whole: Affine, old: ir.Value) -> _Candidate | None:
    rest, state, reset, product_ = [], [], None, None
    for leaf, weight in whole.terms:
        found = _scaled_state(trace, leaf, old)
        if found is None:
            rest.append((leaf, weight))
            continue
        reset, product_ = found, leaf.value
        own = trace.resolve(old)
        state.append((Leaf(own, read=own), weight))
    if reset is None or product_ is None:
        return None
    from_state = Affine(whole.width, tuple(state))
    return _Candidate(reset, replace(whole, terms=tuple(rest)), from_state, False, (product_,))


def _scaled_state(trace: Trace, leaf: Leaf, old: ir.Value) -> Gate | None:
    """The gate ``r`` of a leaf ``r∘h``."""
    pair = _factors(trace, leaf.value) if leaf.axis is None else None
    for gate, state in () if pair is None else (pair, pair[::-1]):
        if trace.resolve(state) is trace.resolve(old):
            return trace.gate(gate)
    return None


def _reset_after(trace: Trace, value: ir.Value, old: ir.Value) -> _Candidate | None:
    known: Affine | None = None
    scaled: list[ir.Value] = []
    constants: list[ir.Value] = []
    for part in trace.addends(value):
        affine = trace.affine(part)
        if affine is not None:
            known = affine if known is None else known.plus(affine)
        else:
            (scaled if _factors(trace, part) is not None else constants).append(part)
    pair = _factors(trace, scaled[0]) if len(scaled) == 1 else None
    for constant in constants:
        known = None if known is None else known.shifted(constant)
    if known is None or pair is None:
        return None
    for gate, product_ in (pair, pair[::-1]):
        reset, state = trace.gate(gate), trace.affine(product_)
        if reset is not None and state is None:  # the first state, and its product, are constant
            state = Affine(reset.affine.width, ()).shifted(trace.resolve(product_))
        if reset is None or state is None:
            continue
        if all(is_state(trace, leaf, old) for leaf, _ in state.terms):
            return _Candidate(reset, known, state, True, (scaled[0],))
    return None


def _factors(trace: Trace, value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    node = None if value is None else trace.resolve(value).producer()
    if node is None or not is_op(node, "Mul") or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    return None if left is None or right is None else (left, right)
