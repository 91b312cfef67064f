"""Walks a graph once and finds for every tensor's axes which places belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx_ir as ir

from onnxopt.graph import constant_tensor, is_constant, is_op, label, opset, subgraphs
from onnxopt_passes.prune._coupling_dims import Dim, freeze, frozen, leaf, normal, unify
from onnxopt_passes.prune._coupling_fixes import Fix
from onnxopt_passes.simplify._evaluate import Evaluator
from onnxopt_passes.simplify._facts import facts_of

Axes = tuple[Dim, ...]
Role = Literal["makes", "reads", "carries"]
Entry = int | Dim | None
"""One number of a shape: known, the size of an axis, or unknown."""

_SMALL = 64
_MATRIX = 2


class Unmapped(Exception):
    """A node whose axes cannot be mapped; the message says why."""


@dataclass(eq=False)
class Use:
    """A constant as one or more nodes read it.

    Attributes:
        value: The constant.
        axes: Its axes.
        readers: Nodes and the places among their inputs.
    """

    value: ir.Value
    axes: Axes
    readers: dict[tuple[ir.Node, int], None] = field(default_factory=dict)


Rule = Callable[["Walk", ir.Node], Sequence[Axes | None]]


class Walk:
    """The axes of all tensors, what constants are read, and what else depends on sizes.

    Attributes:
        version: Of the model's opset.
        axes_of: Of each value that a node computes.
        uses: Of constants.
        marks: Weights' axes by identity: what they are for, and to which node.
        fixes: What to adapt where axes shrink.
        parts: Pieces of axes that are tensors of their own.
        stopped: Nodes with weights that could not be followed, and why.
    """

    def __init__(
        self,
        model: ir.Model,
        rules: Callable[[ir.Node], Rule | None],
        follow: Callable[[Walk, ir.Node], None],
    ) -> None:
        self._rules, self._follow = rules, follow
        self.version = opset(model)
        self._facts = facts_of(model)
        self._evaluator = Evaluator(model.ir_version, model.opset_imports)
        self.axes_of: dict[ir.Value, Axes] = {}
        self.uses: list[Use] = []
        self.marks: dict[Dim, tuple[Role, ir.Node]] = {}
        self.fixes: list[Fix] = []
        self.parts: list[Dim] = []
        self.stopped: list[tuple[ir.Node, str]] = []
        self.entries_of: dict[ir.Value, tuple[Entry, ...]] = {}
        self.order: dict[ir.Node, int] = {}
        self._matrices: dict[ir.Value, Use] = {}
        self._vectors: dict[tuple[ir.Node, int], Use] = {}
        self._fixed: set[ir.Value] = set()
        self._computed: dict[ir.Value, tuple[Entry, ...] | None] = {}
        self._unknown: dict[object, Dim] = {}
        for value in model.graph.inputs:
            self._set_fixed_axes(value, f"they are those of the input {value.name}")
        self.graph(model.graph)
        for value in model.graph.outputs:
            self.freeze_value(value, f"they are those of the output {value.name}")

    def graph(self, graph: ir.Graph) -> None:
        """Walk the nodes of a graph in their order."""
        for node in graph:
            self.order[node] = len(self.order)
            if is_op(node, "Constant") and is_constant(node.outputs[0]):
                continue
            self._visit(node)

    def _visit(self, node: ir.Node) -> None:
        rule = self._rules(node)
        try:
            if rule is None:
                raise Unmapped("is not known to keep channels apart")
            found = rule(self, node)
        except Unmapped as error:
            self._stop(node, str(error))
            found = ()
        except (IndexError, ValueError):  # fewer axes than the op asks for: an invalid model
            self._stop(node, "has inputs of unexpected shape")
            found = ()
        for out, axes in zip(node.outputs, found, strict=False):
            if axes is not None:
                self.axes_of[out] = axes
        for out in node.outputs:
            if out not in self.axes_of:
                self._set_fixed_axes(out, self.why(node, "makes them"))
        self._follow(self, node)
        inputs = [value for value in node.inputs if value is not None]
        if inputs and all(self.is_fixed(value) for value in inputs):
            self._fixed.update(node.outputs)

    def _stop(self, node: ir.Node, reason: str) -> None:
        """Freeze all that a node reads."""
        for index in range(len(node.inputs)):
            axes = self.maybe(node, index)
            for dim in axes or ():
                freeze(dim, self.why(node, reason))
        read = [value for value in node.inputs if value is not None]
        for inner in subgraphs(node):
            read.extend(_captured(inner))
            for captured in _captured(inner):
                self.freeze_value(captured, self.why(node, reason))
        if any(_is_weight(value) for value in read):
            self.stopped.append((node, reason))

    def why(self, node: ir.Node, text: str) -> str:
        """A reason for places to stay."""
        return f"{node.op_type} {label(node)} {text}"

    def freeze_value(self, value: ir.Value, why: str) -> None:
        """Let all axes of a value stay."""
        if is_constant(value):
            axes: Axes | None = self._matrix(value).axes if _is_matrix(value) else ()
        else:
            axes = self.axes_of.get(value)
        for dim in axes or ():
            freeze(dim, why)

    def axes(self, node: ir.Node, index: int) -> Axes:
        """The axes of an input.

        Raises:
            Unmapped: It is absent, or its number of axes is not known.
        """
        axes = self.maybe(node, index)
        if axes is None:
            raise Unmapped(f"reads something of unknown shape as input {index}")
        return axes

    def maybe(self, node: ir.Node, index: int) -> Axes | None:
        """The axes of an input; None where it is absent or its number of axes is not known."""
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None:
            return None
        if not is_constant(value):
            return self.axes_of.get(value)
        if _is_matrix(value):
            use = self._matrix(value)
            use.readers[node, index] = None
            return use.axes
        use = self._vectors.get((node, index)) or self._use(value)
        use.readers[node, index] = None
        self._vectors[node, index] = use
        return use.axes

    def _matrix(self, value: ir.Value) -> Use:
        if value not in self._matrices:
            self._matrices[value] = self._use(value)
        return self._matrices[value]

    def _use(self, value: ir.Value) -> Use:
        use = Use(value, tuple(leaf(int(size)) for size in _shape_of(value)))
        self.uses.append(use)
        return use

    def sizes(self, value: ir.Value) -> tuple[Dim, ...] | None:
        """Frozen axes of a value's size; unknown sizes that are equal are one."""
        shape = self._facts.shape(value)
        return None if shape is None else tuple(self._position(size) for size in shape)

    def position(self, value: ir.Value, axis: int) -> Dim:
        """A frozen axis of a value's size along one axis."""
        sizes = self.sizes(value)
        return leaf(None) if sizes is None else sizes[axis]

    def known_size(self, value: ir.Value, axis: int) -> int | None:
        """A value's size along an axis."""
        shape = self._facts.shape(value)
        size = None if shape is None or not -len(shape) <= axis < len(shape) else shape[axis]
        return size if isinstance(size, int) else None

    def _position(self, size: object) -> Dim:
        if isinstance(size, int):
            return leaf(size, "they are positions")
        return self._unknown.setdefault(size, leaf(None))

    def _set_fixed_axes(self, value: ir.Value, why: str) -> None:
        shape = self._facts.shape(value)
        if shape is not None:
            self.axes_of[value] = tuple(
                leaf(size, why) if isinstance(size, int) else self._position(size) for size in shape
            )

    def same(self, a: Dim, b: Dim, node: ir.Node) -> None:
        """Let the places of two axes stand or fall together."""
        unify(a, b, self.why(node, "joins axes of different structure"))

    def is_fixed(self, value: ir.Value | None) -> bool:
        """Whether a value follows from constants alone."""
        return value is not None and (value in self._fixed or is_constant(value))

    def mark(self, node: ir.Node, index: int, **roles: Iterable[int]) -> None:
        """Say what the axes of a weight are for: ``makes=[0], reads=[1]``."""
        if not self.is_fixed(node.inputs[index] if index < len(node.inputs) else None):
            return
        axes = self.maybe(node, index) or ()
        for role, numbers in roles.items():
            for number in numbers:
                self.marks.setdefault(axes[number], (role, node))  # type: ignore[arg-type]

    def entries(self, value: ir.Value | None) -> tuple[Entry, ...] | None:
        """The numbers of a small vector of integers; None where it is not one, or unknown."""
        if value is None:
            return None
        if value in self.entries_of:
            return self.entries_of[value]
        tensor = constant_tensor(value)
        if tensor is None and value in self._fixed:
            if value not in self._computed:
                self._computed[value] = self._compute(value)
            return self._computed[value]
        if tensor is None or tensor.size > _SMALL:
            return None
        if not tensor.dtype.is_integer() and tensor.dtype != ir.DataType.BOOL:
            return None
        array = tensor.numpy()
        return tuple(int(number) for number in np.ravel(array)) if array.ndim <= 1 else None

    def _compute(self, value: ir.Value) -> tuple[Entry, ...] | None:
        """What is computed from constants alone."""
        nodes = sorted(_cone(value), key=lambda node: self.order[node])
        if not nodes or len(nodes) > _SMALL or any(any(subgraphs(node)) for node in nodes):
            return None
        array = self._evaluator.evaluate(nodes, [value]).arrays.get(value)
        if array is None or array.ndim > 1 or array.size > _SMALL or array.dtype.kind not in "iu":
            return None
        return tuple(int(number) for number in array.reshape(-1))

    def ints(self, value: ir.Value | None) -> list[int] | None:
        """The numbers of a small vector of integers where all are known."""
        entries = self.entries(value)
        if entries is None:
            return None
        found = [entry for entry in entries if isinstance(entry, int)]
        return found if len(found) == len(entries) else None


def is_free(dim: Dim) -> bool:
    """Whether some place of an axis may go."""
    return not frozen(dim)


def is_one(dim: Dim) -> bool:
    """Whether an axis has one place, along which others are repeated."""
    return normal(dim).size == 1


def _cone(value: ir.Value) -> set[ir.Node]:
    """The nodes a value follows from, Constant nodes left out."""
    found: set[ir.Node] = set()
    pending = [value]
    while pending:
        node = pending.pop().producer()
        if node is None or node in found or is_constant(node.outputs[0]):
            continue
        found.add(node)
        pending.extend(one for one in node.inputs if one is not None)
    return found


def _captured(graph: ir.Graph) -> Iterable[ir.Value]:
    for node in graph:
        yield from (value for value in node.inputs if value is not None)
        for inner in subgraphs(node):
            yield from _captured(inner)
            yield from inner.outputs
    yield from graph.outputs


def _shape_of(value: ir.Value) -> Sequence[int]:
    tensor = constant_tensor(value)
    return () if tensor is None else [int(size) for size in tensor.shape.numpy()]


def _is_weight(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tensor.dtype.is_floating_point() and _is_matrix(value)


def _is_matrix(value: ir.Value) -> bool:
    return sum(size > 1 for size in _shape_of(value)) >= _MATRIX
