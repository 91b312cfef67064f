"""Makes bounds on bounds one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._facts import Facts, facts_of

_BOUNDS_ARE_INPUTS_SINCE = 11
_TYPES = {ir.DataType.FLOAT: np.float32, ir.DataType.DOUBLE: np.float64}


class _Bounds(NamedTuple):
    low: float
    high: float

    def of(self, number: float) -> float:
        return min(max(number, self.low), self.high)


@dataclass(frozen=True)
class MergeClips(Pass):
    """Clip(Clip(x, a, b), c, d) → Clip(x, [a]_c^d, [b]_c^d), and Min(Max(x, a), b) → Clip(x, a, b).

    Relu is a bound at 0, and so are Max and Min with one constant number. Only where nothing else
    reads what is in between, for float and double. Zeros may change sign.
    """

    exactness = Exactness.ROUNDING
    looks_for = frozenset({"Clip", "Max", "Min", "Relu"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge along chains, first to last, in every graph and function."""
        facts, editor = facts_of(model), Editor(model)
        for node, version in edit.nodes_with_opset(model):
            outer = _bounds(node, version, facts)
            middle = outer[0] if outer is not None else None
            inner_node = middle.producer() if middle is not None else None
            if outer is None or middle is None or inner_node is None:
                continue
            inner = _bounds(inner_node, version, facts)
            dtype = facts.dtype(middle)
            if inner is None or dtype not in _TYPES or edit.only_consumer(middle) is not node:
                continue
            merged = _Bounds(outer[1].of(inner[1].low), outer[1].of(inner[1].high))
            _write(node, inner[0], merged, dtype, version, editor)
            edit.record_origin(node, [inner_node, node])
            editor.sweep(inner_node)
            yield Note.applied(node, f"also bounds as {edit.label(inner_node)} did")


def _bounds(node: ir.Node, version: int, facts: Facts) -> tuple[ir.Value, _Bounds] | None:
    """What a node bounds, and by what; None where it does something else."""
    if node.domain or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type == "Relu":
        return node.inputs[0], _Bounds(0.0, math.inf)
    if node.op_type == "Clip":
        found = _clip(node, version)
        return None if found is None else (node.inputs[0], found)
    if node.op_type in ("Max", "Min") and len(node.inputs) == 2:
        return _extreme(node, facts)
    return None


def _clip(node: ir.Node, version: int) -> _Bounds | None:
    if version < _BOUNDS_ARE_INPUTS_SINCE:
        low, high = (edit.attribute(node, name, d) for name, d in _UNBOUNDED)
        plain = isinstance(low, int | float) and isinstance(high, int | float) and low <= high
        return _Bounds(float(low), float(high)) if plain else None  # type: ignore[arg-type]
    numbers = []
    for position, (_, default) in enumerate(_UNBOUNDED, start=1):
        value = node.inputs[position] if position < len(node.inputs) else None
        number = default if value is None else edit.scalar(value)
        if number is None or math.isnan(number):
            return None
        numbers.append(number)
    return _Bounds(*numbers) if numbers[0] <= numbers[1] else None


_UNBOUNDED = (("min", -math.inf), ("max", math.inf))


def _extreme(node: ir.Node, facts: Facts) -> tuple[ir.Value, _Bounds] | None:
    for source, bound in (node.inputs, node.inputs[::-1]):
        number, array = edit.scalar(bound), edit.constant(bound)
        if number is None or array is None or source is None or math.isnan(number):
            continue
        shape = facts.shape(source)
        if array.ndim and (shape is None or len(shape) < array.ndim):
            continue
        low = node.op_type == "Max"
        return source, _Bounds(number, math.inf) if low else _Bounds(-math.inf, number)
    return None


def _write(
    node: ir.Node,
    source: ir.Value,
    bounds: _Bounds,
    dtype: ir.DataType,
    version: int,
    editor: Editor,
) -> None:
    node.attributes.clear()
    node.resize_inputs(1)
    node.replace_input_with(0, source)
    node.op_type = "Relu" if bounds == (0.0, math.inf) else "Clip"
    if node.op_type == "Relu":
        return
    if version < _BOUNDS_ARE_INPUTS_SINCE:
        for (name, default), number in zip(_UNBOUNDED, bounds, strict=True):
            if number != default:
                node.attributes[name] = ir.AttrFloat32(name, number)
        return
    node.resize_inputs(3 if bounds.high < math.inf else 2)
    for position, number in enumerate(bounds, start=1):
        if math.isfinite(number):
            array = np.asarray(number, dtype=_TYPES[dtype])
            name = f"{node.outputs[0].name}/{_UNBOUNDED[position - 1][0]}"
            node.replace_input_with(position, editor.constant(node, name, array))
