"""recognize-hard-swish."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset, only_consumer
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._ramp import RUNNABLE, SIXTH, Stop, Walker, close
from onnxopt_passes.fuse._shape import element_type

_FIRST_OPSET = 7
"""Before it, elementwise operators broadcast by attributes."""

_HARD_SWISH_OPSET = 14


@dataclass(frozen=True)
class RecognizeHardSwish(Pass):
    """``k·x·min(max(x/6 + 1/2, 0), 1) = k·HardSwish(x)``.

    The gate may be any chain of scalar Add, Sub, Mul, Div, Neg, Clip, Min, Max, Relu and
    HardSigmoid that comes to a multiple of that line; factors may stand on the gate, on ``x`` or
    after the product, in any order. A Mul by ``k`` is left where the factors do not cancel.
    Below opset 14, which brought HardSwish, the result is HardSigmoid and Mul, a pair that ONNX
    Runtime treats the same.
    """

    looks_for = frozenset({"Clip", "HardSigmoid", "Max", "Min", "Relu"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each product of two variables as ``x·gate``."""
        editor, walker = Editor(model), Walker(model)
        for node, version in list(nodes_with_opset(model)):
            if version >= _FIRST_OPSET and is_op(node, "Mul") and len(node.inputs) == 2:
                match = _match(walker, node)
                if match is not None:
                    yield _replace(editor, match, version)


@dataclass(frozen=True)
class _Match:
    """``last`` computes ``factor·HardSwish(source)``; ``nodes`` are all that take part."""

    source: ir.Value
    factor: float
    nodes: tuple[ir.Node, ...]
    gate: tuple[ir.Node, ...]

    @property
    def last(self) -> ir.Node:
        return self.nodes[-1]


def _match(walker: Walker, node: ir.Node) -> _Match | None:
    left, right = node.inputs
    for gate, factor in ((right, left), (left, right)):
        if gate is None or factor is None or only_consumer(gate) is not node:
            continue
        scales = {stop.value: stop for stop in walker.up(factor, alone=False)}
        for stop in walker.up(gate, alone=False)[1:]:
            found = _product(stop, scales.get(stop.value))
            if found is not None:
                nodes = (*found[1], node)
                return _with_factors(walker, _Match(stop.value, found[0], nodes, stop.nodes))
    return None


def _product(gate: Stop, factor: Stop | None) -> tuple[float, tuple[ir.Node, ...]] | None:
    """``k`` where gate times factor is ``k·HardSwish`` of their common origin, and the nodes."""
    if factor is None:
        return None
    dtype = element_type(gate.nodes)
    height, line = gate.ramp.high, factor.ramp
    proportional = line.shift == 0 and not math.isfinite(line.low) and not math.isfinite(line.high)
    if not (proportional and gate.ramp.is_hard_sigmoid(dtype, height)):
        return None
    if not close(gate.ramp.scale, height * SIXTH, dtype):
        return None
    return line.scale * height, (*factor.nodes, *gate.nodes)


def _with_factors(walker: Walker, match: _Match) -> _Match:
    """The match with those scalar factors after it that make its own factor one."""
    dtype, longer = element_type(match.gate), match
    for _ in range(2):
        if close(longer.factor, 1.0, dtype):
            return longer
        value = longer.last.outputs[0]
        reader = only_consumer(value)
        factor = walker.factor(reader, value)
        if reader is None or factor is None:
            break
        nodes = (*longer.nodes, reader)
        longer = _Match(match.source, longer.factor * factor, nodes, match.gate)
    return longer if close(longer.factor, 1.0, dtype) else match


def _replace(editor: Editor, match: _Match, version: int) -> Note:
    last, dtype = match.last, element_type(match.nodes)
    if dtype not in RUNNABLE:
        return Note.refused(last, f"no runtime computes HardSwish in {dtype}")
    whole = close(match.factor, 1.0, dtype)
    already = whole and len(match.nodes) == 2 and is_op(match.gate[0], "HardSigmoid")
    if already and version < _HARD_SWISH_OPSET:
        return Note.refused(last, f"HardSwish needs opset 14, this is {version}: raise-opset first")
    new = _emit(editor, match, version)
    if not whole:
        number = np.array(match.factor, (dtype or ir.DataType.FLOAT).numpy())
        factor = editor.constant(last, f"{label(last)}/factor", number)
        new = editor.insert_before(
            last, "Mul", [new, factor], f"{label(last)}/scaled", origin=match.nodes
        )
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{len(match.nodes)} nodes became HardSwish")


def _emit(editor: Editor, match: _Match, version: int) -> ir.Value:
    last, base = match.last, label(match.last)
    if version >= _HARD_SWISH_OPSET:
        name = f"{base}/hard_swish"
        return editor.insert_before(last, "HardSwish", [match.source], name, origin=match.nodes)
    attributes = {"alpha": SIXTH, "beta": 0.5}
    gate = editor.insert_before(
        last,
        "HardSigmoid",
        [match.source],
        f"{base}/hard_sigmoid",
        attributes,
        origin=match.gate,
    )
    inputs = [match.source, gate]
    return editor.insert_before(last, "Mul", inputs, f"{base}/hard_swish", origin=match.nodes)
