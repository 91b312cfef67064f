"""Activations of the form ``k·x·gate(x)``, found from the node that computes the gate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset, use_count
from onnxopt.transform import Note
from onnxopt_passes.fuse._algebra import (
    ARITHMETIC,
    FIRST_OPSET,
    Monomial,
    Polynomial,
    expand,
    float_type,
    leak,
    monomial,
    readers,
)
from onnxopt_passes.fuse._ramp import close
from onnxopt_passes.fuse._shape import Layouts

_LONGEST = 8
_MOST_SOURCES = 8


@dataclass(frozen=True)
class Activation:
    """``last`` computes ``factor·f(source)``.

    Attributes:
        kind: Which function ``f`` is.
        source: Its argument.
        factor: What it is multiplied by.
        slope: What the gate's argument is multiplied by.
        nodes: All nodes that take part.
        last: The node that computes the result.
    """

    kind: str
    source: ir.Value
    factor: float
    nodes: frozenset[ir.Node]
    last: ir.Node
    slope: float = 1.0


@dataclass(frozen=True)
class Gate:
    """A way to compute an activation: ``gate = op(argument(x))``, ``result = product(x, gate)``.

    Attributes:
        kind: Which function the result is.
        argument: Coefficients by power of ``x`` of the gate's argument.
        product: Coefficients of the result by (power of ``x``, power of the gate).
        any_slope: Whether the argument may be any multiple.
        inner: An op that stands between ``x`` and the argument.
    """

    kind: str
    argument: Mapping[int, float]
    product: Mapping[tuple[int, int], float]
    any_slope: bool = False
    inner: str = ""

    def argument_in(self, x: ir.Value) -> dict[Monomial, float]:
        """The argument as terms in ``x``."""
        return {monomial(*[x] * by): factor for by, factor in self.argument.items()}

    def product_in(self, x: ir.Value, gate: ir.Value) -> dict[Monomial, float]:
        """The result as terms in ``x`` and the gate."""
        return {
            monomial(*[x] * by, *[gate] * times): factor
            for (by, times), factor in self.product.items()
        }


_SLOPE = math.sqrt(2 / math.pi)
_HALF = {(1, 0): 0.5, (1, 1): 0.5}
_CUBIC = 0.044715
GELU = {
    "Erf": (Gate("none", {1: math.sqrt(0.5)}, _HALF),),
    "Tanh": (Gate("tanh", {1: _SLOPE, 3: _SLOPE * _CUBIC}, _HALF),),
    "Sigmoid": (Gate("tanh", {1: 2 * _SLOPE, 3: 2 * _SLOPE * _CUBIC}, {(1, 1): 1.0}),),
}
"""The gates of GELU: by the error function, and of its approximation."""


class Gates:
    """Finds activations of some kinds; knows ranks, so that no step can change a shape."""

    def __init__(self, model: ir.Model, gates: Mapping[str, tuple[Gate, ...]]) -> None:
        self._layouts, self._gates = Layouts(model), gates

    def at(self, node: ir.Node) -> Activation | Note | None:
        """The activation whose gate a node computes, or why it cannot be replaced."""
        gates = self._gates.get(node.op_type, ()) if node.domain == "" else ()
        for source, argument in arguments(node, lambda x: _starts(gates, x)) if gates else ():
            if not self._fits(source, argument):
                continue
            for gate in gates:
                slope = _slope(gate, source, argument, node)
                start = _start(gate, source)
                found = None if start is None or slope is None else self._product(gate, node, start)
                if found is not None:
                    before = argument.nodes | _between(start, source)
                    return _alone(replace(found, nodes=found.nodes | before, slope=slope or 1.0))
        return None

    def _product(self, gate: Gate, node: ir.Node, source: ir.Value) -> Activation | None:
        """The first place below the gate where the product is whole."""
        value, found = node.outputs[0], None
        wanted = gate.product_in(source, value)
        for reader in readers(value, ARITHMETIC, _LONGEST):
            result = expand(reader.outputs[0], {source, value})
            if result is None or not self._fits(source, result):
                continue
            dtype = float_type(result.nodes)
            factor = result.is_multiple_of(wanted, dtype)
            if factor is None:
                continue
            nodes = result.nodes | {node}
            if close(factor, 1.0, dtype):
                return Activation(gate.kind, source, 1.0, nodes, reader)
            found = found or Activation(gate.kind, source, factor, nodes, reader)
        return found

    def _fits(self, source: ir.Value, result: Polynomial) -> bool:
        """Whether the numbers in an expression cannot add axes to its source."""
        if result.constant_rank == 0:
            return True
        return (self._layouts[source].rank or 0) >= result.constant_rank


def rewrite_gates(
    model: ir.Model,
    gates: Mapping[str, tuple[Gate, ...]],
    replacement: Callable[[Activation, int], Replacement | str | None],
) -> Iterator[Note]:
    """Replace every activation by the node that ``replacement`` names; its reason refuses."""
    finder, editor = Gates(model, gates), Editor(model)
    for node, version in list(nodes_with_opset(model)):
        if version < FIRST_OPSET or node.graph is None:
            continue
        found = finder.at(node)
        if isinstance(found, Note):
            yield found
            continue
        new = None if found is None else replacement(found, version)
        if found is None or new is None:
            continue
        if isinstance(new, str):
            yield Note.refused(found.last, new)
            continue
        yield replace_activation(model, editor, found, new)


@dataclass(frozen=True)
class Replacement:
    """A node of one input: its op, attributes and domain."""

    op_type: str
    attributes: Mapping[str, int | float | str]
    domain: str = ""


def replace_activation(
    model: ir.Model, editor: Editor, found: Activation, new: Replacement
) -> Note:
    """Put the new node, and a Mul by the factor where there is one, in place of the last."""
    last, base = found.last, label(found.last)
    order = [node for node in found.nodes if node is not last]
    origin = [*sorted(order, key=label), last]
    word = new.op_type.lower()
    value = editor.insert_before(
        last,
        new.op_type,
        [found.source],
        f"{base}/{word}",
        dict(new.attributes),
        origin=origin,
        domain=new.domain,
    )
    if found.factor != 1.0:
        dtype = float_type(found.nodes) or ir.DataType.FLOAT
        factor = editor.constant(last, f"{base}/factor", np.array(found.factor, dtype.numpy()))
        value.type, value.shape = last.outputs[0].type, last.outputs[0].shape
        value = editor.insert_before(last, "Mul", [value, factor], f"{base}/scaled", origin=origin)
    editor.replace(last.outputs[0], value)
    import_domain(model, new.domain)
    editor.sweep(last)
    return Note.applied(value, f"{len(found.nodes)} nodes became {new.op_type}")


def import_domain(model: ir.Model, domain: str, version: int = 1) -> None:
    """Import another operator domain into the model and its functions; nothing for the default."""
    if not domain:
        return
    model.opset_imports.setdefault(domain, version)
    for function in model.functions.values():
        function.opset_imports.setdefault(domain, version)


def arguments(
    node: ir.Node, wanted: Callable[[ir.Value], bool] = lambda source: True
) -> Iterator[tuple[ir.Value, Polynomial]]:
    """Each wanted value that a node's input may be a polynomial of, with the polynomial."""
    argument = node.inputs[0] if node.inputs else None
    for source in filter(wanted, _sources(argument)):
        found = None if argument is None else expand(argument, {source})
        if found is not None:
            yield source, found


def _sources(value: ir.Value | None) -> list[ir.Value]:
    """A value and those it is computed from by arithmetic, nearest first."""
    found: dict[ir.Value, None] = {} if value is None else {value: None}
    pending = list(found)
    while pending and len(found) < _MOST_SOURCES:
        node = pending.pop(0).producer()
        if node is None or not is_op(node, *ARITHMETIC):
            continue
        fresh = [v for v in node.inputs if v is not None and v not in found]
        fresh = [v for v in fresh if v.const_value is None]
        found.update(dict.fromkeys(fresh))
        pending.extend(fresh)
    return list(found)


def _slope(gate: Gate, source: ir.Value, argument: Polynomial, node: ir.Node) -> float | None:
    """What the gate's argument is multiplied by; None where it is another function."""
    dtype = float_type([node, *argument.nodes])
    factor = argument.is_multiple_of(gate.argument_in(source), dtype)
    if factor is None or close(factor, 1.0, dtype):
        return None if factor is None else 1.0
    return factor if gate.any_slope else None


def _starts(gates: tuple[Gate, ...], source: ir.Value) -> bool:
    return any(_start(gate, source) is not None for gate in gates)


def _start(gate: Gate, source: ir.Value) -> ir.Value | None:
    """The ``x`` of a gate: the source of its argument, or what the inner op reads.

    The gate and the product both read it.
    """
    start: ir.Value | None = source
    if gate.inner:
        node = source.producer()
        start = node.inputs[0] if node is not None and is_op(node, gate.inner) else None
    return start if start is not None and use_count(start) > 1 else None


def _between(start: ir.Value | None, source: ir.Value) -> frozenset[ir.Node]:
    node = source.producer()
    return frozenset() if node is None or start is source else frozenset({node})


def _alone(found: Activation) -> Activation | Note:
    """The activation, or a refusal where others read what lies in between."""
    read = leak(found.nodes, found.last)
    return found if read is None else Note.refused(found.last, f"{read.name} is read elsewhere too")
