"""Digests that tell models apart by what they compute.

Both take in operators, attributes, the names, types and shapes of values, opset and IR version.
Node names, doc strings, metadata, producer and how a file stores its weights do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import onnx_ir as ir

from onnxopt.guard import HOLDERS, subgraphs, tensors
from onnxopt.store.tensors import PAYLOAD_BYTES, release, to_bytes

_DIGEST_KEY = "onnxopt.sha256"

Weigh = Callable[[ir.TensorProtocol], object]
"""What of a tensor counts, besides its type and shape."""


def structural_hash(model: ir.Model) -> str:
    """A SHA-256 of the graph, quick to compute; of tensors of 1 KiB and more only type and shape
    count.
    """
    return _hash(model, _small_only)


def content_hash(model: ir.Model) -> str:
    """A SHA-256 of graph and weights; the digests of weights that cannot change are kept."""
    return _hash(model, _payload_digest)


def _hash(model: ir.Model, weigh: Weigh) -> str:
    digest = hashlib.sha256()
    for line in _model(model, weigh):
        digest.update(repr(line).encode("utf-8", "surrogatepass"))
        digest.update(b"\n")
    return digest.hexdigest()


def _model(model: ir.Model, weigh: Weigh) -> Iterator[object]:
    yield "model", model.ir_version, sorted(model.opset_imports.items())
    yield from _graph(model.graph, weigh)
    for key, function in sorted(model.functions.items()):
        yield "function", key, sorted(function.opset_imports.items())
        yield from _attributes(function.attributes, weigh)
        yield from _graph(function.graph, weigh)


def _graph(graph: ir.Graph, weigh: Weigh) -> Iterator[object]:
    yield "graph", [_value(value) for value in graph.inputs]
    for name, value in sorted(graph.initializers.items()):
        held = value.const_value
        yield "initializer", name, None if held is None else _tensor(held, weigh)
    for node in graph:
        yield (
            node.domain,
            node.op_type,
            node.overload,
            [None if value is None else value.name for value in node.inputs],
            [_value(value) for value in node.outputs],
        )
        if node.attributes:
            yield from _attributes(node.attributes, weigh)
    yield "end", [_value(value) for value in graph.outputs]


def _attributes(attributes: Mapping[str, ir.Attr], weigh: Weigh) -> Iterator[object]:
    for name, attr in sorted(attributes.items()):
        kind = attr.type
        if kind not in HOLDERS:
            yield name, kind.value, attr.ref_attr_name, attr.value
            continue
        yield name, kind.value, attr.ref_attr_name, [_tensor(t, weigh) for t in tensors(attr)]
        for graph in subgraphs(attr):
            yield from _graph(graph, weigh)


def _value(value: ir.Value) -> tuple[object, ...]:
    kind: Any = value.type
    if isinstance(kind, ir.TensorType):
        kind = int(kind.dtype)
    shape = value.shape
    if shape is None:
        return value.name, kind
    return value.name, kind, [dim if isinstance(dim, int) else dim.value for dim in shape]


def _tensor(tensor: ir.TensorProtocol, weigh: Weigh) -> tuple[object, ...]:
    return int(tensor.dtype), list(tensor.shape.numpy()), weigh(tensor)


def _small_only(tensor: ir.TensorProtocol) -> object:
    if isinstance(tensor, ir.StringTensor):
        return list(tensor.string_data())
    return bytes(to_bytes(tensor)) if tensor.nbytes < PAYLOAD_BYTES else None


def _payload_digest(tensor: ir.TensorProtocol) -> object:
    small = _small_only(tensor)
    if small is not None:
        return small
    known = tensor.meta.get(_DIGEST_KEY)
    if known is None:
        data = to_bytes(tensor)
        known = hashlib.sha256(data).hexdigest()
        if data.readonly:
            tensor.meta[_DIGEST_KEY] = known
        release(data)
    return known
