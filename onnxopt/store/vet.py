"""What a parsed model must be before onnx_ir sees it.

onnx_ir drops some things without a word (a second initializer of one name, functions of equal
names) and chokes on others. Here they are repaired where the meaning is plain and refused where it
is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import onnx

from onnxopt.errors import ModelError
from onnxopt.guard import Limits, printable, within
from onnxopt.store.sparse import densify

_Attribute = onnx.AttributeProto
_VALUE_FIELDS = {
    "f": _Attribute.FLOAT,
    "i": _Attribute.INT,
    "s": _Attribute.STRING,
    "t": _Attribute.TENSOR,
    "g": _Attribute.GRAPH,
    "floats": _Attribute.FLOATS,
    "ints": _Attribute.INTS,
    "strings": _Attribute.STRINGS,
    "tensors": _Attribute.TENSORS,
    "graphs": _Attribute.GRAPHS,
}
_GRAPH_TYPES = (_Attribute.GRAPH, _Attribute.GRAPHS)
_SPARSE_TYPES = (_Attribute.SPARSE_TENSOR, _Attribute.SPARSE_TENSORS)
_OPSET_IMPORT_SINCE = 3


def vet(proto: onnx.ModelProto, limits: Limits) -> None:
    """Repair in place what has one meaning, refuse the rest.

    Repaired: the domain ``ai.onnx`` spelled out in opset imports, attributes of the first IR
    version, which say no type, and sparse initializers, which become dense.

    Raises:
        ModelError: Something onnx_ir would lose or misread.
        LimitError: There are more nodes than the limits allow.
    """
    if not proto.HasField("graph"):
        raise ModelError("the file holds no graph", "an ONNX model")
    if not 0 < proto.ir_version <= onnx.IR_VERSION:
        raise ModelError(
            f"IR version {proto.ir_version}",
            f"1 to {onnx.IR_VERSION}",
            "upgrade onnx for newer files",
        )
    if not proto.opset_import and proto.ir_version >= _OPSET_IMPORT_SINCE:
        raise ModelError("the model imports no operator set", "an opset_import entry")
    _vet_opsets(proto.opset_import)
    _once("function", (f"{f.domain}:{f.name}:{f.overload}" for f in proto.functions))
    nodes = 0
    for function in proto.functions:
        _vet_names(function.domain, function.name, *function.input, *function.output)
        _vet_opsets(function.opset_import)
        _vet_attributes(function.attribute_proto, function.name)
        nodes += _vet_nodes(function.node)
    for graph in _graphs(proto):
        _vet_graph(graph)
        nodes += _vet_nodes(graph.node)
        within("nodes", nodes, limits.nodes, "nodes")


def _graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Every graph; a graph's attributes must be vetted before its subgraphs are asked for."""
    pending = [proto.graph]
    bodies: list[Iterable[onnx.NodeProto]] = [function.node for function in proto.functions]
    while pending or bodies:
        if pending:
            graph = pending.pop()
            yield graph
            bodies.append(graph.node)
        for node in bodies.pop():
            for attribute in node.attribute:
                if attribute.type in _GRAPH_TYPES:
                    pending += [attribute.g] if attribute.HasField("g") else attribute.graphs


def _vet_graph(graph: onnx.GraphProto) -> None:
    densify(graph)
    _vet_names(*(value.name for value in (*graph.input, *graph.output)))
    names = [tensor.name for tensor in graph.initializer]
    _vet_names(*names)
    if not all(names):
        raise ModelError(f"initializer {names.index('')} has no name", "a name for each")
    _once("initializer", names)
    _once("graph input", [value.name for value in graph.input])


def _vet_nodes(nodes: Iterable[onnx.NodeProto]) -> int:
    count = 0
    for node in nodes:
        count += 1
        _vet_names(node.op_type, node.name, node.domain, *node.input, *node.output)
        attributes = node.attribute
        if attributes:
            _vet_attributes(attributes, node.name or node.op_type)
            _vet_parts(node)
    return count


def _vet_parts(node: onnx.NodeProto) -> None:
    """Onnx's shape inference ends the process over a Split of fewer parts than outputs."""
    if node.op_type != "Split":
        return
    for attribute in node.attribute:
        if attribute.name == "num_outputs" and 0 < attribute.i < len(node.output):
            raise ModelError(
                f"{printable(node.name or 'a Split')!r} has {len(node.output)} outputs and "
                f"num_outputs = {attribute.i}",
                "one part for each output",
            )


def _vet_attributes(attributes: Iterable[onnx.AttributeProto], owner: str) -> None:
    seen = set()
    for attribute in attributes:
        _vet_names(attribute.name, attribute.ref_attr_name)
        kind = attribute.type
        if not kind and not attribute.ref_attr_name:
            _set_type(attribute, owner)
        elif kind in _SPARSE_TYPES:
            raise ModelError(
                f"attribute {attribute.name!r} of {printable(owner)!r} is a sparse tensor",
                "a dense one",
            )
        if attribute.name in seen:
            raise ModelError(
                f"{printable(owner)!r} has two attributes {attribute.name!r}", "one of each name"
            )
        seen.add(attribute.name)


def _set_type(attribute: onnx.AttributeProto, owner: str) -> None:
    held = {descriptor.name for descriptor, _ in attribute.ListFields()} & _VALUE_FIELDS.keys()
    if len(held) != 1:
        raise ModelError(
            f"attribute {attribute.name!r} of {printable(owner)!r} has no type", "a typed value"
        )
    attribute.type = _VALUE_FIELDS[held.pop()]


def _vet_opsets(imports: Iterable[onnx.OperatorSetIdProto]) -> None:
    versions: dict[str, int] = {}
    for entry in imports:
        if entry.domain == "ai.onnx":
            entry.domain = ""
        if versions.setdefault(entry.domain, entry.version) != entry.version:
            raise ModelError(
                f"domain {entry.domain!r} is imported at versions {versions[entry.domain]} and "
                f"{entry.version}",
                "one version",
            )


def _vet_names(*names: str | bytes) -> None:
    """The protobuf library gives text that is no UTF-8 as bytes."""
    for name in names:
        if isinstance(name, bytes):
            raise ModelError(f"the name {name!r} is no UTF-8 text", "valid names")


def _once(role: str, names: Iterable[str]) -> None:
    counts = Counter(names)
    if len(counts) < counts.total():
        name = next(name for name, count in counts.items() if count > 1)
        raise ModelError(f"{role} {printable(name)!r} is defined twice", "each name once")
