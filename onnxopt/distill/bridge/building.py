"""From a model to its bridge: every node becomes a function once, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir
import torch
from torch.nn import Parameter

from onnxopt.distill.bridge.module import Bridge
from onnxopt.distill.bridge.program import NOTHING, Program, Step
from onnxopt.distill.bridge.site import Body, Function, Site, UnsupportedError
from onnxopt.distill.bridge.table import find
from onnxopt.distill.bridge.weights import Weights
from onnxopt.errors import ModelError
from onnxopt.graph import is_op, label

_OLDEST = 7
_FOLDED_BYTES = 1 << 24


def to_torch(model: ir.Model, *, trainable: Callable[[str], bool] | None = None) -> Bridge:
    """Make a differentiable torch module of a model.

    Args:
        model: Not changed; opset 7 or newer.
        trainable: Which weights get gradients, by name. By default all but the scales of Q/DQ
            nodes and single numbers in pointwise arithmetic. Settings (bounds of Clip, say) and
            the statistics of BatchNormalization are never weights.

    Returns:
        The module, on the CPU, in the model's own types.

    Raises:
        ModelError: Some nodes cannot be translated; the message names all of them.
    """
    builder = _Builder(model, Weights(model, trainable))
    program, scope = builder.graph(model.graph)
    if builder.problems:
        raise ModelError(
            f"{len(builder.problems)} nodes have no form in torch: " + ", ".join(builder.problems)
        )
    return Bridge(model, program, builder.programs, scope.names(), builder.weights)


def unsupported(model: ir.Model) -> tuple[str, ...]:
    """What ``to_torch`` would refuse: op, node and reason of each; empty where it would not."""
    builder = _Builder(model, Weights(model, lambda name: False))
    builder.graph(model.graph)
    return tuple(builder.problems)


class _Scope:
    """The slots of one graph: values by slot, constants in the template."""

    def __init__(self, outer: _Scope | None = None) -> None:
        self.template: list[Any] = [None]
        self.captured: list[ir.Value] = []
        self._outer = outer
        self._slots: dict[ir.Value, int] = {}

    def add(self, value: ir.Value, constant: Any = None) -> int:
        """A new slot."""
        self.template.append(constant)
        self._slots[value] = len(self.template) - 1
        return self._slots[value]

    def slot(self, value: ir.Value | None) -> int:
        """The slot of a value; one from outside gets a slot here when first asked for."""
        if value is None:
            return NOTHING
        if value in self._slots:
            return self._slots[value]
        constant = None if self._outer is None else self._outer.constant(value)
        if constant is None:
            self.captured.append(value)
        return self.add(value, constant)

    def constant(self, value: ir.Value | None) -> torch.Tensor | None:
        """A weight or constant, here or outside; None for what is computed."""
        if value is None:
            return None
        if value in self._slots:
            return self.template[self._slots[value]]
        return None if self._outer is None else self._outer.constant(value)

    def captured_slots(self) -> list[int]:
        return [self._slots[value] for value in self.captured]

    def names(self) -> dict[str, int]:
        return {value.name: slot for value, slot in self._slots.items() if value.name}


class _Builder:
    """Builds the programs of one model and collects what it cannot build."""

    def __init__(self, model: ir.Model, weights: Weights) -> None:
        self.weights = weights
        self.problems: list[str] = []
        self.programs: list[Program] = []
        self._model = model
        self._opsets = model.graph.opset_imports or model.opset_imports
        self._arguments: Mapping[str, ir.Attr] | None = None
        if 0 < self._opsets.get("", _OLDEST) < _OLDEST:
            self.problems.append(f"all of opset {self._opsets['']} (from {_OLDEST} on is known)")

    def graph(self, graph: ir.Graph, outer: _Scope | None = None) -> tuple[Program, _Scope]:
        """Compile a graph; values of enclosing graphs become further inputs."""
        scope = _Scope(outer)
        inputs = [scope.add(value) for value in graph.inputs if not value.is_initializer()]
        for value in graph.initializers.values():
            self._hold(value, scope)
        steps = [step for node in graph if (step := self._step(node, scope)) is not None]
        outputs = [scope.slot(value) for value in graph.outputs]
        inputs += scope.captured_slots()
        program = Program(scope.template, steps, inputs, outputs)
        self.programs.append(program)
        return program, scope

    def _hold(self, value: ir.Value, scope: _Scope) -> None:
        held = self.weights.hold(value)
        if held is None:
            self.problems.append(f"constant {value.name!r}: torch has no such tensor")
        scope.add(value, held)

    def _step(self, node: ir.Node, scope: _Scope) -> Step | None:
        if is_op(node, "Constant") and self._arguments is None:
            self._hold(node.outputs[0], scope)
            return None
        try:
            function, captured = self._function(node, scope)
        except UnsupportedError as error:
            name = node.op_type if not node.domain else f"{node.domain}:{node.op_type}"
            self.problems.append(f"{name} {label(node)!r}: {error}")
            function, captured = _nothing, []
        reads = [*node.inputs, *captured]
        made = self._folded(node, function, [scope.constant(value) for value in reads])
        if made is not None:
            scope.add(node.outputs[0], made)
            return None
        slots = tuple(scope.slot(value) for value in reads)
        writes = tuple(scope.add(value) for value in node.outputs)
        return Step(function, slots, writes, f"{node.op_type} {label(node)!r}")

    def _function(self, node: ir.Node, scope: _Scope) -> tuple[Function, list[ir.Value]]:
        attributes = self._attributes(node)
        body = self._model.functions.get(node.op_identifier())
        if body is not None:
            return self._call(body, attributes, len(node.outputs)), []
        builder = find(node.domain, node.op_type)
        captured: list[ir.Value] = []
        bodies = {}
        for name, attr in attributes.items():
            if attr.type == ir.AttributeType.GRAPH:
                program, inner = self.graph(attr.as_graph(), scope)
                start = len(node.inputs) + len(captured)
                captured += inner.captured
                bodies[name] = Body(program, slice(start, start + len(inner.captured)))
        held = [scope.constant(value) for value in node.inputs]
        fixed, weights = [_fixed(x) for x in held], [isinstance(x, Parameter) for x in held]
        opset = self._opsets.get(node.domain, 1)
        return builder(Site(node, opset, attributes, fixed, bodies, weights)), captured

    def _attributes(self, node: ir.Node) -> dict[str, ir.Attr]:
        """A node's attributes; those that refer to a function's are looked up."""
        found = {}
        for name, attr in node.attributes.items():
            if not attr.is_ref():
                found[name] = attr
            elif (given := (self._arguments or {}).get(attr.ref_attr_name or "")) is not None:
                found[name] = given
        return found

    def _call(self, body: ir.Function, attributes: Mapping[str, ir.Attr], outputs: int) -> Function:
        saved = self._opsets, self._arguments
        defaults = {name: attr for name, attr in body.attributes.items() if attr.value is not None}
        self._opsets, self._arguments = body.opset_imports, {**defaults, **attributes}
        try:
            program, _ = self.graph(body.graph)
        finally:
            self._opsets, self._arguments = saved
        if outputs == 1:
            return lambda *values: program.call(values)[0]
        return lambda *values: tuple(program.call(values))

    def _folded(self, node: ir.Node, function: Function, inputs: list[Any]) -> Any:
        """The output of a node that only reads constants which are not weights."""
        if len(node.outputs) > 1 or self.problems or self._is_call(node):
            return None
        known = [_fixed(tensor) for tensor in inputs]
        absent = [value is None for value in node.inputs]
        if any(t is None and not gone for t, gone in zip(known, absent, strict=False)):
            return None
        try:
            with torch.no_grad():
                result = function(*known)
        except (RuntimeError, ValueError, IndexError, TypeError):
            return None  # fails again when it is run, where the message names the node
        is_small = isinstance(result, torch.Tensor) and result.nbytes <= _FOLDED_BYTES
        return result if is_small else None

    def _is_call(self, node: ir.Node) -> bool:
        return node.op_identifier() in self._model.functions or any(
            attr.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for attr in node.attributes.values()
        )


def _fixed(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if isinstance(tensor, Parameter) else tensor


def _nothing(*values: Any) -> Any:
    raise UnsupportedError("has no form in torch")
