"""Traces every value of a model back to products with constant matrices, in one sweep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import all_nodes, is_op, scalar, subgraphs
from onnxopt_passes._loop_states import states_of
from onnxopt_passes.recurrent._affine import Affine, Leaf, Weight, constant_shape
from onnxopt_passes.recurrent._form import Forms
from onnxopt_passes.recurrent._reading import (
    Cut,
    attribute_ints,
    cut_of,
    number,
    operand,
    sizes_of,
    whole,
)
from onnxopt_passes.recurrent._steps import Steps

_DEFAULTS: dict[str, tuple[float | None, float | None]] = {
    "Sigmoid": (None, None),
    "Tanh": (None, None),
    "Relu": (None, None),
    "Softplus": (None, None),
    "Softsign": (None, None),
    "Elu": (1.0, None),
    "LeakyRelu": (0.01, None),
    "ThresholdedRelu": (1.0, None),
    "HardSigmoid": (0.2, 0.5),
}
ACTIVATIONS = frozenset(_DEFAULTS)
"""The activations that recurrent operators know."""


@dataclass(frozen=True)
class Activation:
    """An activation that recurrent operators know, with its parameters."""

    name: str
    alpha: float | None = None
    beta: float | None = None

    @property
    def mirrors(self) -> bool:
        """Whether ``1 - f(x) = f(-x)``."""
        return self.name == "Sigmoid" or (self.name == "HardSigmoid" and self.beta == 0.5)


@dataclass(frozen=True)
class Gate:
    """``activation(affine)``."""

    activation: Activation
    affine: Affine

    def window(self, start: int, stop: int) -> Gate:
        """Some of the columns."""
        return Gate(self.activation, self.affine.window(start, stop))

    def complement(self) -> Gate | None:
        """``1 - gate`` as a gate; None where the activation is not symmetric."""
        if not self.activation.mirrors:
            return None
        return Gate(self.activation, self.affine.scaled(-1.0))


def activation_of(node: ir.Node | None) -> Activation | None:
    """The activation that a node applies, where recurrent operators have it."""
    if node is None or not is_op(node, *ACTIVATIONS):
        return None
    alpha, beta = _DEFAULTS[node.op_type]
    return Activation(
        node.op_type,
        None if alpha is None else number(node, "alpha", alpha),
        None if beta is None else number(node, "beta", beta),
    )


def default_activation(name: str) -> Activation | None:
    """An activation that has no parameters; None where it has, or for other names."""
    return Activation(name) if _DEFAULTS.get(name) == (None, None) else None


class Trace:
    """Affine forms and gates of the values of a model, read in one sweep from the top."""

    def __init__(self, model: ir.Model) -> None:
        self._aliases = dict(_invariants(model))
        self.forms = Forms(self.resolve)
        self.steps = Steps(self.resolve, self.forms)
        self._affines: dict[ir.Value, Affine] = {}
        self._gates: dict[ir.Value, Gate | None] = {}
        self._positions: dict[ir.Node, int] = {}
        for position, node in enumerate(all_nodes(model)):
            self._positions[node] = position
            self.forms.visit(node)
            self.steps.visit(node)
            self._visit(node)

    def resolve(self, value: ir.Value) -> ir.Value:
        """The value behind Identity nodes and what loops hand through unchanged."""
        while True:
            node = value.producer()
            if value in self._aliases:
                value = self._aliases[value]
            elif is_op(node, "Identity") and node is not None and node.inputs[0] is not None:
                value = node.inputs[0]
            else:
                return value

    def may_follow(self, node: ir.Node, anchor: ir.Node) -> bool:
        """Whether a node may read, directly or not, what the anchor makes in the same graph."""
        if node.graph is not anchor.graph:
            return False
        position = self._positions.get(node)
        return position is None or position > self._positions.get(anchor, -1)

    def affine(self, value: ir.Value) -> Affine | None:
        """The affine form of a value, None where it is not a sum of such products."""
        return self._affines.get(self.resolve(value))

    def gate(self, value: ir.Value) -> Gate | None:
        """The value as an activation of an affine form."""
        value = self.resolve(value)
        if value not in self._gates:
            self._gates[value] = None
            self._gates[value] = self._read_gate(value)
        return self._gates[value]

    def complement_of(self, value: ir.Value) -> ir.Value | None:
        """``v`` where the value is ``1 - v``."""
        node = self.resolve(value).producer()
        if node is None or not is_op(node, "Sub") or None in node.inputs:
            return None
        one, other = (self.resolve(v) for v in node.inputs if v is not None)
        return other if scalar(one) == 1.0 else None

    def columns(self, node: ir.Node, output: ir.Value, width: int) -> tuple[int, int] | None:
        """The columns of its input that an output of a Split or Slice of the last axis holds."""
        source = node.inputs[0]
        if source is None:
            return None
        if is_op(node, "Split"):
            if not self.forms.is_last(source, whole(node, "axis", 0)):
                return None
            sizes = sizes_of(node, self.forms.ints)
            if sizes is None:
                parts = len(node.outputs)
                sizes = (width // parts,) * parts if width % parts == 0 else ()
            if len(sizes) != len(node.outputs) or sum(sizes) != width:
                return None
            start = sum(sizes[: output.index() or 0])
            return start, start + sizes[output.index() or 0]
        cut = cut_of(node, self.forms.ints) if is_op(node, "Slice") else None
        if cut is None or cut.step != 1 or not self.forms.is_last(source, cut.axis):
            return None
        return _bounds(cut, width)

    def addends(self, value: ir.Value) -> Iterator[ir.Value]:
        """The parts of a nested sum, those that are affine kept whole."""
        pending = [self.resolve(value)]
        for _ in range(16):
            if not pending:
                return
            part = pending.pop()
            node = part.producer()
            nested = node is not None and is_op(node, "Add", "Sum")
            if self.affine(part) is None and nested and node is not None:
                pending += [self.resolve(v) for v in node.inputs if v is not None]
            else:
                yield part
        yield from pending

    def _visit(self, node: ir.Node) -> None:
        if is_op(node, "Scan"):
            self._visit_scan(node)
        if is_op(node, "Split"):
            source = self._known(node.inputs[0])
            for output in node.outputs if source is not None else ():
                found = None if source is None else self.columns(node, output, source.width)
                if found is not None and source is not None:
                    self._affines[output] = source.window(*found)
        if not node.outputs:
            return
        affine = self._read(node)
        if affine is not None:
            self._affines[node.outputs[0]] = affine

    def _visit_scan(self, node: ir.Node) -> None:
        """The affine forms of what a Scan hands to its body position by position."""
        for value in (value for body in subgraphs(node) for value in body.inputs):
            affine = self._at_step(value)
            if affine is not None:
                self._affines[value] = affine

    def _at_step(self, value: ir.Value) -> Affine | None:
        step = self.steps.get(value)
        if step is None or step.axis is None or step.index is None:
            return None
        known = self.affine(step.value)
        return None if known is None else known.at(step.axis, step.index)

    def _known(self, value: ir.Value | None) -> Affine | None:
        return None if value is None else self.affine(value)

    def _read(self, node: ir.Node) -> Affine | None:
        output = node.outputs[0]
        step = self._at_step(output)
        if step is not None:
            return step
        if is_op(node, "MatMul"):
            return self._product(node.inputs[0], node.inputs[1], transposed=False)
        if is_op(node, "Gemm"):
            return self._gemm(node)
        if is_op(node, "Add", "Sum", "Sub"):
            return self._sum(node)
        if is_op(node, "Mul", "Div"):
            return self._multiple(node)
        source = self._known(operand(node, 0))
        if source is None:
            return None
        if is_op(node, "Neg"):
            return source.scaled(-1.0)
        if is_op(node, "Transpose"):
            return source.exchanged() if attribute_ints(node, "perm") == (1, 0, 2) else None
        return self._slice(node, source) if is_op(node, "Slice") else None

    def _slice(self, node: ir.Node, source: Affine) -> Affine | None:
        found, cut = (
            self.columns(node, node.outputs[0], source.width),
            cut_of(node, self.forms.ints),
        )
        if found is not None or cut is None or not cut.reverses or node.inputs[0] is None:
            return None if found is None else source.window(*found)
        axis, rank = self.forms.axis(node.inputs[0], cut.axis), self.forms[node.inputs[0]].rank
        return source.backwards(axis) if rank == 3 and axis in (0, 1) else None

    def _product(
        self, left: ir.Value | None, right: ir.Value | None, *, transposed: bool
    ) -> Affine | None:
        if left is None or right is None:
            return None
        weight = self.resolve(right)
        shape = constant_shape(weight)
        rank = self.forms[left].rank
        if shape is None or len(shape) != 2 or rank not in (2, 3):
            return None
        height, width = shape[::-1] if transposed else shape
        parts = self.forms.parts(left, height)
        if parts is None or len(parts) > 4:
            return None
        terms, start = [], 0
        for value, size in parts:
            rows = (start, start + size)
            terms.append((self.leaf(value), Weight(weight, transposed, rows, (0, width))))
            start += size
        return Affine(width, tuple(terms))

    def leaf(self, value: ir.Value) -> Leaf:
        """A value as a leaf: a position of a sequence where it is one."""
        value = self.resolve(value)
        return self.steps.get(value) or Leaf(value, read=value)

    def _gemm(self, node: ir.Node) -> Affine | None:
        if whole(node, "transA", 0):
            return None
        transposed = bool(whole(node, "transB", 0))
        product = self._product(node.inputs[0], node.inputs[1], transposed=transposed)
        if product is None:
            return None
        product, summand = product.scaled(number(node, "alpha", 1.0)), operand(node, 2)
        if summand is None:
            return product
        beta, summand = number(node, "beta", 1.0), self.resolve(summand)
        if constant_shape(summand) is not None:
            return product.shifted(summand, beta)
        known = self.affine(summand)
        return None if known is None else product.plus(known.scaled(beta))

    def _sum(self, node: ir.Node) -> Affine | None:
        values = [self.resolve(value) for value in node.inputs if value is not None]
        signs = [-1.0 if index and is_op(node, "Sub") else 1.0 for index in range(len(values))]
        parts = [
            (v, known, sign)
            for v, sign in zip(values, signs, strict=True)
            if (known := self.affine(v)) is not None
        ]
        ranks = {self.forms[value].rank for value, _, _ in parts}
        if len(ranks) != 1 or any(
            (self.forms[v].rank or 0) > max(r or 0 for r in ranks) for v in values
        ):
            return None
        total: Affine | None = Affine(parts[0][1].width, ())
        for _, known, sign in parts:
            total = None if total is None else total.plus(known if sign > 0 else known.scaled(sign))
        for value, sign in zip(values, signs, strict=True):
            if total is not None and self.affine(value) is None:
                total = total.shifted(value, sign)
        return total

    def _multiple(self, node: ir.Node) -> Affine | None:
        if len(node.inputs) != 2 or None in node.inputs:
            return None
        left, right = (self.resolve(value) for value in node.inputs if value is not None)
        known, other = self.affine(left), right
        if known is None and is_op(node, "Mul"):
            known, other = self.affine(right), left
        factor = None if known is None or constant_shape(other) is None else scalar(other)
        if known is None or factor is None or len(constant_shape(other) or ()) > 1:
            return None
        if is_op(node, "Mul"):
            return known.scaled(factor)
        return known.scaled(1.0 / factor) if factor else None

    def _read_gate(self, value: ir.Value) -> Gate | None:
        node = value.producer()
        if node is None or not node.inputs or node.inputs[0] is None:
            return None
        activation = activation_of(node)
        if activation is not None:
            affine = self.affine(node.inputs[0])
            return None if affine is None else Gate(activation, affine)
        if is_op(node, "Split", "Slice"):
            source = self._shallow_gate(node.inputs[0])
            found = None if source is None else self.columns(node, value, source.affine.width)
            return None if source is None or found is None else source.window(*found)
        other = self.complement_of(value)
        source = None if other is None else self._shallow_gate(other)
        return None if source is None else source.complement()

    def _shallow_gate(self, value: ir.Value) -> Gate | None:
        """The gate of a value that is an activation or a part of one; no deeper nesting."""
        node = self.resolve(value).producer()
        if activation_of(node) is not None:
            return self.gate(value)
        if node is None or not is_op(node, "Split", "Slice") or node.inputs[0] is None:
            return None
        inner = self.resolve(node.inputs[0]).producer()
        return self.gate(value) if activation_of(inner) is not None else None


def _bounds(cut: Cut, width: int) -> tuple[int, int] | None:
    stop = width if cut.stop is None else min(cut.stop + width * (cut.stop < 0), width)
    start = min(cut.start + width * (cut.start < 0), width)
    return (start, stop) if 0 <= start < stop else None


def _invariants(model: ir.Model) -> Iterator[tuple[ir.Value, ir.Value]]:
    """The inputs of loop bodies that stay what they were before the loop."""
    for node in all_nodes(model):
        states = states_of(node) if is_op(node, "Loop", "Scan") else None
        if states is None:
            continue
        for k in states.invariant:
            outer = node.inputs[states.first + k]
            if outer is not None:
                yield states.body.inputs[states.first + k], outer
