"""The few edit verbs over onnx_ir that it lacks.

All of them keep the naming rules: a value that replaces another takes its name, a new value is
called ``<name>/<suffix>``, and a node remembers the nodes it was made from.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.convenience import convert_attributes

PROVENANCE_KEY = "onnxopt.from"
"""Node metadata: the names of the nodes a node was made from, comma-separated."""

_IR_OF_FREE_WEIGHTS = 4
_GRAPH, _GRAPHS = ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS

AttributeValue = int | float | str | Sequence[int] | Sequence[float] | Sequence[str] | ir.Attr


@dataclass(frozen=True)
class GraphStats:
    """Size of a model: nodes and weights of all graphs, subgraphs and functions.

    Attributes:
        nodes: Number of nodes.
        initializers: Number of initializers.
        weight_bytes: Bytes of initializers and of the tensors of Constant nodes.
        ops: Number of nodes by op type, ``domain:`` before those of other domains.
    """

    nodes: int
    initializers: int
    weight_bytes: int
    ops: Mapping[str, int]


def stats(model: ir.Model) -> GraphStats:
    """Count nodes by op type, initializers and their bytes."""
    ops: dict[str, int] = {}
    inline = []
    for node in all_nodes(model):
        domain, op_type = node.domain, node.op_type
        key = f"{domain}:{op_type}" if domain else op_type
        ops[key] = ops.get(key, 0) + 1
        if key == "Constant" and (tensor := _inline_tensor(node)) is not None:
            inline.append(tensor)
    weights = [
        value.const_value
        for graph in all_graphs(model)
        for value in graph.initializers.values()
        if value.const_value is not None
    ]
    return GraphStats(
        nodes=sum(ops.values()),
        initializers=len(weights),
        weight_bytes=sum(tensor.nbytes for tensor in (*weights, *inline)),
        ops=dict(sorted(ops.items())),
    )


def _inline_tensor(node: ir.Node) -> ir.TensorProtocol | None:
    """The tensor of a Constant node that holds one."""
    attr = node.attributes.get("value")
    return None if attr is None or attr.is_ref() else attr.as_tensor()


def all_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """The main graph, its subgraphs, every function body and theirs, outermost first."""
    yield from _with_subgraphs(model.graph)
    for function in model.functions.values():
        yield from _with_subgraphs(function.graph)


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node of every graph; editing while iterating is safe."""
    yield from _nodes_below(model.graph)
    for function in list(model.functions.values()):
        yield from _nodes_below(function.graph)


def opset(model: ir.Model, domain: str = "") -> int:
    """The imported opset version of a domain; 0 where it is not imported."""
    return model.opset_imports.get(domain, 0)


def constant(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    """The array a value always holds, or None.

    An initializer that is also a graph input may be overridden by the caller: not constant.
    """
    tensor = constant_tensor(value)
    return None if tensor is None else tensor.numpy()


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor a value always holds, or None; does not read its data."""
    if value is None or value.is_graph_input():
        return None
    try:
        return ir.convenience.get_const_tensor(value)
    except ValueError:  # a Constant that holds no dense tensor: a sparse one, odd text
        return None


def is_constant(value: ir.Value | None) -> bool:
    """Whether ``constant`` would give an array; does not read it."""
    return constant_tensor(value) is not None


def scalar(value: ir.Value | None) -> float | None:
    """The number a value always holds where it is a constant of one element, else None."""
    if not is_constant(value):
        return None
    array = constant(value)
    if array is None or array.size != 1 or array.dtype.kind not in "fiu":
        return None
    return float(array.reshape(()).astype(np.float64))


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether a node is one of these ops of the default domain."""
    return node is not None and node.domain == "" and node.op_type in op_types


def use_count(value: ir.Value) -> int:
    """How often nodes read a value.

    ``Value.uses`` copies all of them, which makes whoever asks once a reader quadratic.
    """
    return len(value._uses)


def only_consumer(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value (once), when it reads it in the same graph and no graph
    output is the value itself; else None.
    """
    if use_count(value) != 1 or value.is_graph_output():
        return None
    ((node, _),) = value.uses()
    producer = value.producer()
    if producer is not None and producer.graph is not node.graph:
        return None
    return node


def attribute(node: ir.Node, name: str, default: AttributeValue) -> AttributeValue:
    """An attribute's plain value, or the default where it is absent."""
    attr = node.attributes.get(name)
    if attr is None or attr.is_ref():
        return default
    value: AttributeValue = attr.value
    return value


def rank(value: ir.Value | None) -> int | None:
    """Number of axes where declared."""
    return None if value is None or value.shape is None else len(value.shape)


class Editor:
    """Adds, replaces and removes nodes of one model by the naming rules.

    Make one per pass run: it reads all names once, when it first needs a fresh one.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._function_graphs = {id(f.graph) for f in model.functions.values()}

    @functools.cached_property
    def _names(self) -> set[str]:
        names = {value.name for value in _all_values(self._model) if value.name}
        return names | {node.name for node in all_nodes(self._model) if node.name}

    def read_names(self) -> None:
        """Read the names now: for whoever takes nodes out of the model before asking for some."""
        _ = self._names

    def fresh(self, name: str) -> str:
        """``name``, or ``name/2``, ``name/3`` … where it is taken; the result is reserved."""
        candidate, number = name, 2
        while candidate in self._names:
            candidate, number = f"{name}/{number}", number + 1
        self._names.add(candidate)
        return candidate

    def constant(self, anchor: ir.Node, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
        """A new constant that ``anchor`` can read: an initializer of its graph, or a Constant
        node before it in a function body (functions have no initializers) and below IR version 4
        (where an initializer has to be a graph input).
        """
        graph = _graph_of(anchor)
        fresh = self.fresh(name)
        tensor = _tensor(array, fresh)
        if id(graph) in self._function_graphs or self._model.ir_version < _IR_OF_FREE_WEIGHTS:
            attrs = {"value": ir.AttrTensor("value", tensor)}
            node = ir.Node("", "Constant", [], attrs, num_outputs=1, name=fresh)
            value = node.outputs[0]
            value.name = fresh
            value.shape, value.dtype = ir.Shape(array.shape), tensor.dtype
            graph.insert_before(anchor, node)
            return value
        value = ir.Value(
            name=fresh,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        graph.register_initializer(value)
        return value

    def insert_before(
        self,
        anchor: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        name: str,
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        origin: Iterable[ir.Node] = (),
        domain: str = "",
    ) -> ir.Value:
        """A new node with one output, placed before ``anchor``; node and output get ``name``
        (made fresh). Returns the output, untyped unless it later replaces another value.
        """
        fresh = self.fresh(name)
        attrs = convert_attributes(dict(attributes or {}))
        node = ir.Node(domain, op_type, inputs, attrs, num_outputs=1, name=fresh)
        node.outputs[0].name = fresh
        record_origin(node, origin)
        _graph_of(anchor).insert_before(anchor, node)
        return node.outputs[0]

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Let a freshly made ``new`` stand in for ``old`` everywhere, graph outputs included.

        ``new`` takes the name, and where it has none of its own, the type and shape of ``old``;
        those that a graph output declares, it takes in any case. The node that made ``old`` stays
        until ``sweep``.
        """
        name, keeps = old.name, old.is_graph_output()
        if new.type is None or (keeps and old.type is not None):
            new.type = old.type
        if new.shape is None or (keeps and old.shape is not None):
            new.shape = old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name = None
        new.name = name

    def bypass(self, old: ir.Value, source: ir.Value) -> bool:
        """Let readers of ``old`` read the existing ``source`` instead; False where it cannot be.

        A graph output keeps its name and its declared type and shape: ``source`` takes them over,
        which is refused when it is itself an input, an output, an initializer or of another graph.
        """
        if old.is_graph_output():
            producer = source.producer()
            old_producer = old.producer()
            foreign = producer is None or (
                old_producer is not None and producer.graph is not old_producer.graph
            )
            if foreign or source.is_graph_output():
                return False
            name = old.name
            old.replace_all_uses_with(source, replace_graph_outputs=True)
            old.name = None
            source.name = name
            source.type = old.type if old.type is not None else source.type
            source.shape = old.shape if old.shape is not None else source.shape
            return True
        old.replace_all_uses_with(source)
        return True

    def sweep(self, *nodes: ir.Node) -> None:
        """Remove each node nobody reads, then whatever only fed it, then unread initializers."""
        pending = list(nodes)
        while pending:
            node = pending.pop()
            graph = node.graph
            if graph is None or any(use_count(o) or o.is_graph_output() for o in node.outputs):
                continue
            for value in remove(node):
                producer = value.producer()
                if producer is not None:
                    pending.append(producer)
                elif value.is_initializer():
                    drop_if_unread(value)


def remove(node: ir.Node) -> list[ir.Value]:
    """Take out a node nobody reads; returns all values that it and its subgraphs read.

    ``onnx_ir.Graph.remove`` forgets what the subgraphs read, which stays alive for ever after.
    """
    released = list(_release(node))
    _graph_of(node).remove(node)
    return released


def subgraphs(node: ir.Node) -> Sequence[ir.Graph]:
    """The graphs a node holds directly (bodies and branches)."""
    found: list[ir.Graph] = []
    for attr in node.attributes.data.values():  # the dict itself: most nodes hold none
        kind = attr.type
        if kind == _GRAPH and not attr.is_ref():
            found.append(attr.as_graph())
        elif kind == _GRAPHS and not attr.is_ref():
            found += attr.as_graphs()
    return found


def drop_if_unread(value: ir.Value) -> bool:
    """Remove an initializer nobody reads (unless it is a graph input or output)."""
    graph = value.graph
    if graph is None or use_count(value) or value.is_graph_input() or value.is_graph_output():
        return False
    if value.name is not None and value.name in graph.initializers:
        del graph.initializers[value.name]
        return True
    return False


def record_origin(node: ir.Node, origin: Iterable[ir.Node]) -> None:
    """Note in a node's metadata which nodes it was made from (and what those were made from)."""
    names: dict[str, None] = {}
    for source in origin:
        known = source.metadata_props.get(PROVENANCE_KEY)
        names.update(dict.fromkeys(known.split(",") if known else [label(source)]))
    if names:
        node.metadata_props[PROVENANCE_KEY] = ",".join(names)


def label(node: ir.Node) -> str:
    """A node's name, or its first output's where it has none."""
    return node.name or next((out.name for out in node.outputs if out.name), node.op_type)


def nodes_with_opset(model: ir.Model, domain: str = "") -> Iterator[tuple[ir.Node, int]]:
    """Every node of every graph with the opset version in force where it stands.

    Functions import their own opsets; editing while iterating is safe.
    """
    for root in (model.graph, *(function.graph for function in model.functions.values())):
        version = root.opset_imports.get(domain, 0)
        for node in _nodes_below(root):
            yield node, version


def rewrite_constant(value: ir.Value, array: npt.NDArray[np.generic]) -> None:
    """Let an initializer or the output of a Constant node hold another array under its name.

    The caller makes sure that every reader of the value wants the new array.
    """
    tensor = _tensor(array, value.name)
    producer = value.producer()
    if producer is not None:
        producer.attributes.clear()
        producer.attributes["value"] = ir.AttrTensor("value", tensor)
    if producer is None or value.const_value is not None:
        value.const_value = tensor
    value.shape, value.type = ir.Shape(array.shape), ir.TensorType(tensor.dtype)


def _tensor(array: npt.NDArray[np.generic], name: str | None) -> ir.TensorProtocol:
    """An array as a tensor; ``ir.tensor`` first asks for everything else that it might be."""
    held = np.asarray(array, order="C")
    return ir.tensor(held, name=name) if held.dtype == object else ir.Tensor(held, name=name)


def _with_subgraphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """A graph and all below it; several times faster than ``Graph.subgraphs``."""
    yield graph
    for node in graph:
        for inner in subgraphs(node) if node.attributes.data else ():
            yield from _with_subgraphs(inner)


def _nodes_below(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes of a graph, then those of all graphs below it."""
    held: list[ir.Graph] = []
    for node in graph:
        if node.attributes.data:
            held += subgraphs(node)
        yield node
    for inner in held:
        yield from _nodes_below(inner)


def _release(node: ir.Node) -> Iterator[ir.Value]:
    for index, value in enumerate(node.inputs):
        if value is not None:
            yield value
            node.replace_input_with(index, None)
    for graph in subgraphs(node):
        for inner in graph:
            yield from _release(inner)


def _graph_of(node: ir.Node) -> ir.Graph:
    graph = node.graph
    if graph is None:
        raise ValueError(f"node {label(node)} belongs to no graph")
    return graph


def _all_values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in all_graphs(model):
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs
