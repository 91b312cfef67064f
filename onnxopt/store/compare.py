"""Are two models the same graph? Otherwise, what is the first difference?

Graphs are walked from their outputs, pairing values, so the order of nodes is free. Node names,
doc strings, metadata and declared types of inner values do not count; attributes that spell out a
default do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxopt.guard import HOLDERS, printable, subgraphs, tensors
from onnxopt.store.tensors import to_bytes


def same_graph(
    a: ir.Model, b: ir.Model, *, names: bool = True, rtol: float = 0.0, atol: float = 0.0
) -> str | None:
    """Compare two models.

    Args:
        a: The first model.
        b: The second model.
        names: Whether inner values must have the same names; those of the model's inputs and
            outputs always must.
        rtol: Relative tolerance for floating-point weights and attributes; with both tolerances
            0, weights are compared bit by bit.
        atol: Absolute tolerance.

    Returns:
        None, or the first difference in one line.
    """
    try:
        _Pairing(names, rtol, atol).models(a, b)
    except _DifferenceError as difference:
        return str(difference)
    return None


class _DifferenceError(Exception):
    """Says where the two differ."""


@dataclass
class _Pairing:
    """Which values of the one graph stand for which of the other."""

    names: bool
    rtol: float
    atol: float
    partner: dict[ir.Value, ir.Value] = field(default_factory=dict)
    taken: set[ir.Value] = field(default_factory=set)

    def models(self, a: ir.Model, b: ir.Model) -> None:
        _equal("IR version", a.ir_version, b.ir_version)
        _equal("opset imports", dict(a.opset_imports), dict(b.opset_imports))
        _same_names("function", a.functions, b.functions)
        for side in ("inputs", "outputs"):
            left, right = getattr(a.graph, side), getattr(b.graph, side)
            _equal(f"graph {side}", [v.name for v in left], [v.name for v in right])
            for one, other in zip(left, right, strict=True):
                _equal(f"type of {_quoted(one)}", str(one.type), str(other.type))
                _equal(f"shape of {_quoted(one)}", _dims(one), _dims(other))
        self.graphs(a.graph, b.graph)
        for key, one_function in a.functions.items():
            other_function = b.functions[key]
            where = f"function {printable(key[1])!r}"
            imports = dict(one_function.opset_imports), dict(other_function.opset_imports)
            _equal(f"opset imports of {where}", *imports)
            self.attributes(where, one_function.attributes, other_function.attributes)
            self.graphs(one_function.graph, other_function.graph)

    def graphs(self, a: ir.Graph, b: ir.Graph) -> None:
        for side in ("inputs", "outputs"):
            left, right = getattr(a, side), getattr(b, side)
            _equal(f"number of {side} of graph {a.name!r}", len(left), len(right))
        for one, other in zip(a.inputs, b.inputs, strict=True):
            self.pair(f"input {_quoted(one)}", one, other)
            self.weights(one, other)
        for one, other in zip(a.outputs, b.outputs, strict=True):
            self.values(f"output {_quoted(one)}", one, other)
        self.unread(a, b)

    def unread(self, a: ir.Graph, b: ir.Graph) -> None:
        """Compare the nodes and weights that no output depends on."""
        left = [node for node in a if not any(out in self.partner for out in node.outputs)]
        right = [node for node in b if not any(out in self.taken for out in node.outputs)]
        _equal("nodes that no output needs", _labels(left), _labels(right))
        for one, other in zip(_by_label(left), _by_label(right), strict=True):
            self.follow([self.nodes(one, other)])
        idle = [value for value in a.initializers.values() if value not in self.partner]
        spare = [value for value in b.initializers.values() if value not in self.taken]
        _equal("number of weights nobody reads", len(idle), len(spare))
        order = _name if self.names else _kind
        for weight, counterpart in zip(
            sorted(idle, key=order), sorted(spare, key=order), strict=True
        ):
            self.values("weight nobody reads", weight, counterpart)

    def values(self, where: str, a: ir.Value | None, b: ir.Value | None) -> None:
        self.follow([[(where, a, b)]])

    def follow(self, stack: list[list[tuple[str, ir.Value | None, ir.Value | None]]]) -> None:
        """Compare pairs of values and all they are computed from, without recursion."""
        while stack:
            if not stack[-1]:
                stack.pop()
                continue
            where, a, b = stack[-1].pop(0)
            if a is None or b is None:
                _equal(where, _quoted(a), _quoted(b))
                continue
            known = a in self.partner
            self.pair(where, a, b)
            if not known:
                stack.append(self.sources(where, a, b))

    def pair(self, where: str, a: ir.Value, b: ir.Value) -> None:
        paired = a in self.partner or b in self.taken
        if (paired and self.partner.get(a) is not b) or (self.names and a.name != b.name):
            raise _DifferenceError(f"{where}: {_quoted(a)} against {_quoted(b)}")
        self.partner[a] = b
        self.taken.add(b)

    def sources(
        self, where: str, a: ir.Value, b: ir.Value
    ) -> list[tuple[str, ir.Value | None, ir.Value | None]]:
        one, other = a.producer(), b.producer()
        _equal(where, _origin(a), _origin(b))
        if one is None or other is None:
            self.weights(a, b)
            return []
        _equal(f"{where}: which output of {one.op_type}", a.index(), b.index())
        return self.nodes(one, other)

    def nodes(self, a: ir.Node, b: ir.Node) -> list[tuple[str, ir.Value | None, ir.Value | None]]:
        """Compare two nodes but for what they read, which is returned."""
        where = f"{a.op_type} computing {', '.join(map(_quoted, a.outputs))}"
        _equal(f"operator {where}", a.op_identifier(), b.op_identifier())
        outputs, others = _trimmed(a.outputs), _trimmed(b.outputs)
        _equal(f"number of outputs of {where}", len(outputs), len(others))
        for one, other in zip(outputs, others, strict=True):
            if one is not None and other is not None:
                self.pair(where, one, other)
        inputs, others = _trimmed(a.inputs), _trimmed(b.inputs)
        _equal(f"number of inputs of {where}", len(inputs), len(others))
        self.attributes(where, a.attributes, b.attributes)
        pairs = zip(inputs, others, strict=True)
        return [(f"input {i} of {where}", *pair) for i, pair in enumerate(pairs)]

    def attributes(self, where: str, a: Mapping[str, ir.Attr], b: Mapping[str, ir.Attr]) -> None:
        _same_names(f"attribute of {where}", a, b)
        for name, one in a.items():
            place = f"attribute {name} of {where}"
            other = b[name]
            _equal(f"type of {place}", one.type.name, other.type.name)
            _equal(f"reference of {place}", one.ref_attr_name, other.ref_attr_name)
            if one.type in HOLDERS and not one.is_ref():
                self.held(place, one, other)
            elif not self.close(one.value, other.value):
                _equal(place, one.value, other.value)

    def held(self, where: str, a: ir.Attr, b: ir.Attr) -> None:
        _equal(f"number of tensors in {where}", len(tensors(a)), len(tensors(b)))
        for one, other in zip(tensors(a), tensors(b), strict=True):
            self.tensors(where, one, other)
        _equal(f"number of graphs in {where}", len(subgraphs(a)), len(subgraphs(b)))
        for graph, counterpart in zip(subgraphs(a), subgraphs(b), strict=True):
            self.graphs(graph, counterpart)

    def weights(self, a: ir.Value, b: ir.Value) -> None:
        one = a.const_value if a.is_initializer() else None
        other = b.const_value if b.is_initializer() else None
        _equal(f"{_quoted(a)} has a value", one is not None, other is not None)
        if one is not None and other is not None:
            self.tensors(f"weight {_quoted(a)}", one, other)

    def tensors(self, where: str, a: ir.TensorProtocol, b: ir.TensorProtocol) -> None:
        _equal(f"type of {where}", a.dtype.name, b.dtype.name)
        _equal(f"shape of {where}", list(a.shape.numpy()), list(b.shape.numpy()))
        if isinstance(a, ir.StringTensor) and isinstance(b, ir.StringTensor):
            _equal(where, list(a.string_data()), list(b.string_data()))
        elif to_bytes(a) != to_bytes(b) and not self.near(a, b):
            error = np.abs(_floats(a) - _floats(b)).max()
            raise _DifferenceError(f"{where} differs by up to {error:.3g}")

    def near(self, a: ir.TensorProtocol, b: ir.TensorProtocol) -> bool:
        if not self.rtol and not self.atol:
            return False
        if not a.dtype.is_floating_point():
            return False
        return np.allclose(_floats(a), _floats(b), self.rtol, self.atol, equal_nan=True)

    def close(self, a: object, b: object) -> bool:
        if isinstance(a, float) and isinstance(b, float):
            both_nan = math.isnan(a) and math.isnan(b)
            return both_nan or math.isclose(a, b, rel_tol=self.rtol, abs_tol=self.atol)
        if isinstance(a, tuple) and isinstance(b, tuple):
            return len(a) == len(b) and all(map(self.close, a, b))
        return a == b


def _equal(what: str, a: object, b: object) -> None:
    if a != b:
        raise _DifferenceError(f"{what}: {_shown(a)} against {_shown(b)}")


def _same_names(role: str, a: Collection[object], b: Collection[object]) -> None:
    for side, more, less in (("first", a, b), ("second", b, a)):
        extra = [key for key in more if key not in less]
        if extra:
            raise _DifferenceError(f"{role} {_shown(extra[0])} only in the {side}")


def _shown(thing: object) -> str:
    return printable(thing if isinstance(thing, str) else repr(thing), 80)


def _quoted(value: ir.Value | None) -> str:
    return "nothing" if value is None else repr(printable(value.name or ""))


def _origin(value: ir.Value) -> str:
    producer = value.producer()
    if producer is not None:
        return producer.op_type
    if value.is_graph_input():
        return "a graph input"
    return "a weight" if value.is_initializer() else "a value from nowhere"


def _labels(nodes: Sequence[ir.Node]) -> list[str]:
    return sorted(node.op_type for node in nodes)


def _by_label(nodes: Sequence[ir.Node]) -> list[ir.Node]:
    return sorted(nodes, key=lambda node: (node.op_type, [out.name or "" for out in node.outputs]))


def _name(value: ir.Value) -> str:
    return value.name or ""


def _kind(value: ir.Value) -> str:
    return f"{value.dtype} {_dims(value)}"


def _trimmed(values: Sequence[ir.Value | None]) -> Sequence[ir.Value | None]:
    """Inputs or outputs without the absent ones at the end, which mean nothing."""
    end = len(values)
    while end and ((last := values[end - 1]) is None or not last.name):
        end -= 1
    return values[:end]


def _dims(value: ir.Value) -> list[int | str | None] | None:
    if value.shape is None:
        return None
    return [dim if isinstance(dim, int) else dim.value for dim in value.shape]


def _floats(tensor: ir.TensorProtocol) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    array = tensor.numpy()
    return np.abs(array) if array.dtype.kind == "c" else array.astype(np.float64)
