"""Limits for models nobody vouches for, and names made safe to print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

import onnx_ir as ir

from onnxopt.errors import LimitError, ModelError

OpId = tuple[str, str, str]
"""Domain, name and overload: what a node calls."""


@dataclass(frozen=True)
class Limits:
    """How large a model may be before it is refused with a ``LimitError``.

    Attributes:
        file_bytes: Size of the model file, without external data.
        nodes: Nodes of all graphs, subgraphs and functions as written.
        expanded_nodes: Nodes once every function call is replaced by the function's body.
        depth: How deep graphs nest once function calls are replaced; the main graph is 1.
        tensor_bytes: Bytes of all weights and constants together.
    """

    file_bytes: int = 64 << 30
    nodes: int = 1_000_000
    expanded_nodes: int = 4_000_000
    depth: int = 64
    tensor_bytes: int = 128 << 30


DEFAULT_LIMITS = Limits()

HOLDERS = frozenset(
    {
        ir.AttributeType.TENSOR,
        ir.AttributeType.TENSORS,
        ir.AttributeType.GRAPH,
        ir.AttributeType.GRAPHS,
    }
)
"""The attribute types that hold tensors or graphs; few attributes are of one."""


def within(what: str, found: int, limit: int, name: str) -> None:
    """Raise a ``LimitError`` where ``found`` exceeds ``limit``, the ``Limits`` field ``name``."""
    if found > limit:
        shown = f"{found:,}" if found < 10**15 else "more than 10^15"
        raise LimitError(
            f"{shown} {what}", f"at most {limit:,}", f"raise the limit {name} if you trust it"
        )


def check(model: ir.Model, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse a model that exceeds the limits, without recursion and without expanding anything.

    Raises:
        LimitError: A limit is exceeded; the message names it.
        ModelError: A function calls itself, directly or through others.
    """
    bodies = {key: _survey(function.graph) for key, function in model.functions.items()}
    main = _survey(model.graph)
    everything = [main, *bodies.values()]
    within("nodes", sum(body.nodes for body in everything), limits.nodes, "nodes")
    within("levels of subgraphs", max(body.depth for body in everything), limits.depth, "depth")
    weights = sum(body.tensor_bytes for body in everything)
    within("bytes of weights", weights, limits.tensor_bytes, "tensor_bytes")
    total = _expand(main, bodies)
    within("nodes after expanding functions", total.nodes, limits.expanded_nodes, "expanded_nodes")
    within("levels of functions and subgraphs", total.depth, limits.depth, "depth")


def printable(name: str, limit: int = 1000) -> str:
    """``name`` as a terminal may show it: control, formatting and other unprintable characters are
    escaped, and what is longer than ``limit`` characters is cut.
    """
    shown = name if len(name) <= limit else f"{name[:limit]}..."
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in shown)


@dataclass
class _Body:
    """What a graph and its subgraphs hold; ``calls`` counts (operator, depth) pairs."""

    nodes: int = 0
    depth: int = 1
    tensor_bytes: int = 0
    calls: Counter[tuple[OpId, int]] = field(default_factory=Counter)


def _survey(graph: ir.Graph) -> _Body:
    body = _Body()
    pending = [(graph, 1)]
    while pending:
        graph, depth = pending.pop()
        body.depth = max(body.depth, depth)
        body.nodes += len(graph)
        weights = (value.const_value for value in graph.initializers.values())
        body.tensor_bytes += sum(tensor.nbytes for tensor in weights if tensor is not None)
        for node in graph:
            body.calls[node.op_identifier(), depth] += 1
            for attr in node.attributes.values():
                pending += [(inner, depth + 1) for inner in subgraphs(attr)]
                body.tensor_bytes += sum(tensor.nbytes for tensor in tensors(attr))
    return body


def _expand(main: _Body, bodies: dict[OpId, _Body]) -> _Body:
    """Size of ``main`` with all calls replaced; each function is summed up once, callees first."""
    done: dict[OpId, _Body] = {}
    for key in _callees_first(bodies):
        done[key] = _with_calls(bodies[key], done)
    return _with_calls(main, done)


def _with_calls(body: _Body, done: dict[OpId, _Body]) -> _Body:
    total = _Body(body.nodes, body.depth)
    for (key, depth), times in body.calls.items():
        if key in done:
            total.nodes += times * done[key].nodes
            total.depth = max(total.depth, depth + done[key].depth)
    return total


def _callees_first(bodies: dict[OpId, _Body]) -> Iterator[OpId]:
    calls = {key: {op for op, _ in body.calls if op in bodies} for key, body in bodies.items()}
    try:
        yield from TopologicalSorter(calls).static_order()
    except CycleError as error:
        name = printable(error.args[1][0][1])
        raise ModelError(f"function {name!r} calls itself", "functions without recursion") from None


def subgraphs(attr: ir.Attr) -> tuple[ir.Graph, ...]:
    """The graphs an attribute holds."""
    return _held(attr, ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def tensors(attr: ir.Attr) -> tuple[ir.TensorProtocol, ...]:
    """The tensors an attribute holds."""
    return _held(attr, ir.AttributeType.TENSOR, ir.AttributeType.TENSORS)


def _held(attr: ir.Attr, one: ir.AttributeType, several: ir.AttributeType) -> tuple[Any, ...]:
    kind = attr.type
    if kind not in (one, several) or attr.is_ref():
        return ()
    # Not as_tensor(): it asks for every property of a tensor to see that it is one.
    return (attr.value,) if kind == one else attr.value
