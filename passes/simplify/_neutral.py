"""Operands that leave the other operand as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt_passes.simplify._arrays import Array
from onnxopt_passes.simplify._facts import Facts
from onnxopt_passes.simplify._result_shapes import broadcast

_BROADCASTS_SINCE = 7

Check = Callable[[Array], bool]


def _ones(array: Array) -> bool:
    return _all(array, lambda part: part == 1)


def _true(array: Array) -> bool:
    return array.dtype == np.bool_ and _all(array, lambda part: part)


def _false(array: Array) -> bool:
    return array.dtype == np.bool_ and _all(array, np.logical_not)


def _zeros(array: Array) -> bool:
    return _all(array, lambda part: part == 0)


def _vanishes_when_added(array: Array) -> bool:
    """X + 0 is x for integers; a float x = -0.0 survives only -0.0."""
    return _zeros(array) and (array.dtype.kind in "iu" or bool(np.signbit(array).all()))


def _vanishes_when_subtracted(array: Array) -> bool:
    return _zeros(array) and (array.dtype.kind in "iu" or not bool(np.signbit(array).any()))


def _all(array: Array, test: Callable[[Array], Array]) -> bool:
    """Whether all elements pass; looks at the first before it reads the rest."""
    flat = array.reshape(-1)
    return flat.size > 0 and bool(np.all(test(flat[:1]))) and bool(np.all(test(flat)))


EXACT: Mapping[str, tuple[Check, bool]] = MappingProxyType(
    {
        "Add": (_vanishes_when_added, True),
        "And": (_true, True),
        "BitShift": (_zeros, False),
        "Div": (_ones, False),
        "Mul": (_ones, True),
        "Or": (_false, True),
        "Pow": (_ones, False),
        "Sub": (_vanishes_when_subtracted, False),
        "Xor": (_false, True),
    }
)
"""Op → what its neutral operand looks like, and whether it may come first."""

ROUNDING: Mapping[str, tuple[Check, bool]] = MappingProxyType(
    {"Add": (_zeros, True), "Sub": (_zeros, False)}
)
"""The same, up to the sign of zero."""


def other_operand(
    node: ir.Node, version: int, facts: Facts, table: Mapping[str, tuple[Check, bool]]
) -> ir.Value | None:
    """The operand that a binary node passes on, shape included; None where it computes."""
    entry = table.get(node.op_type)
    if entry is None or len(node.inputs) != 2 or version < _BROADCASTS_SINCE:
        return None
    check, commutes = entry
    left, right = node.inputs
    for source, operand in ((left, right), (right, left))[: 2 if commutes else 1]:
        array = edit.constant(operand)
        if source is None or array is None or not _passes(array, check):
            continue
        if array.ndim == 0 or keeps_shape(facts, source, array.shape):
            return source
    return None


def keeps_shape(facts: Facts, source: ir.Value, shape: tuple[int, ...]) -> bool:
    """Whether broadcasting against a shape leaves a value's shape as it is."""
    known = facts.shape(source)
    return known is not None and broadcast(known, shape) == known


def _passes(array: Array, check: Check) -> bool:
    return array.dtype.kind in "fiub" and check(array)
