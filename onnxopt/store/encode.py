"""Model to bytes: everything but the weights is serialized, the weights are spliced in.

onnx_ir's serializer copies every weight into the message it builds. It is shown the model through
views in which large tensors are replaced by stubs, so the caller's model stays as it is; then
``wire.rewrite`` puts the weights where the stubs are, as pieces that are read when written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir as ir
from google.protobuf.message import EncodeError

from onnxopt.errors import LimitError
from onnxopt.guard import HOLDERS, subgraphs, tensors
from onnxopt.store import carry, serde, wire
from onnxopt.store.sparse import SparseParts
from onnxopt.store.tensors import PAYLOAD_BYTES, to_bytes

Replace = Callable[[ir.TensorProtocol, str | None], onnx.TensorProto | None]
"""Called with a tensor and its name; gives what to write in its place, or None to leave it."""

MAX_BYTES = (1 << 31) - 1
"""What the protobuf format allows in one message."""

_SEGMENT, _RAW = 3, 9
_MARK = 0x6F6E_6E78_6F70_7421
_MARK_BYTES = wire.encode_varint(_MARK)


class Payload:
    """A tensor's bytes, had when asked for."""

    __slots__ = ("_tensor", "size")

    def __init__(self, tensor: ir.TensorProtocol) -> None:
        self._tensor = tensor
        self.size = tensor.nbytes

    def __len__(self) -> int:
        return self.size

    def read(self) -> memoryview:
        """The bytes."""
        return to_bytes(self._tensor)


@dataclass(frozen=True)
class Encoded:
    """A serialized model in pieces, and the tensors among them."""

    pieces: list[Payload | memoryview | bytes]
    payloads: list[ir.TensorProtocol]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(map(len, self.pieces))


def serialize(model: ir.Model) -> bytes:
    """A model as one buffer; equal models give equal bytes.

    Raises:
        LimitError: The result would be over 2 GiB, which the format cannot hold.
        ModelError: A weight's data cannot be read.
    """
    encoded = encode(model)
    if encoded.size > MAX_BYTES:
        raise LimitError(
            f"the model takes {encoded.size} bytes",
            f"at most {MAX_BYTES} in one piece",
            "save it to a file with external data",
        )
    return b"".join(
        piece.read() if isinstance(piece, Payload) else piece for piece in encoded.pieces
    )


def encode(model: ir.Model) -> Encoded:
    """Serialize a model; weights are read when their pieces are."""
    payloads: list[ir.TensorProtocol] = []
    sparse = SparseParts()

    def mark(tensor: ir.TensorProtocol, name: str | None) -> onnx.TensorProto | None:
        apart = sparse.stub(tensor, name)
        if apart is not None or not _is_payload(tensor):
            return apart
        proto = stub(tensor, name)
        proto.segment.begin, proto.segment.end = _MARK, len(payloads)
        payloads.append(tensor)
        return proto

    proto = to_proto(model, mark)
    sparse.settle(proto)
    held = _to_bytes(proto)
    data = memoryview(held)
    pieces = wire.rewrite(
        data,
        lambda start, end: held.find(_MARK_BYTES, start, end) >= 0,
        lambda start, end: _splice(data, start, end, payloads),
    )
    return Encoded(pieces, payloads)


def encode_external(
    model: ir.Model, location: str, offsets: Mapping[ir.TensorProtocol, int]
) -> bytes:
    """Serialize a model whose tensors of ``offsets`` are at those offsets of the file ``location``.

    Raises:
        LimitError: What remains is over 2 GiB.
    """
    sparse = SparseParts()

    def refer(tensor: ir.TensorProtocol, name: str | None) -> onnx.TensorProto | None:
        if tensor not in offsets:
            return sparse.stub(tensor, name)
        proto = stub(tensor, name)
        proto.data_location = onnx.TensorProto.EXTERNAL
        where = {"location": location, "offset": offsets[tensor], "length": tensor.nbytes}
        for key, value in where.items():
            proto.external_data.add(key=key, value=str(value))
        return proto

    proto = to_proto(model, refer)
    sparse.settle(proto)
    return _to_bytes(proto)


def stub(tensor: ir.TensorProtocol, name: str | None) -> onnx.TensorProto:
    """A tensor's message without its data."""
    return onnx.TensorProto(
        name=name or None,
        data_type=tensor.dtype.value,
        dims=tensor.shape.numpy(),
        doc_string=tensor.doc_string or None,
    )


def to_proto(model: ir.Model, replace: Replace) -> onnx.ModelProto:
    """A model's message with some tensors replaced; the model itself is not touched.

    Raises:
        ModelError: onnx_ir cannot serialize the model.
    """
    with serde.explained("the model cannot be serialized"):
        functions = {
            key: _View(
                function,
                nodes=_lean_nodes(function, replace),
                attributes=_lean_attributes(function.attributes, replace),
            )
            for key, function in model.functions.items()
        }
        view: Any = _View(model, graph=_lean_graph(model.graph, replace), functions=functions)
        proto = ir.serde.serialize_model(view)
    carry.give_back(model, proto)
    return proto


class _View:
    """An object of the graph as the serializer sees it, some of its parts replaced."""

    def __init__(self, whole: object, **parts: object) -> None:
        self.__dict__.update(parts, _whole=whole)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_whole"], name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__dict__["nodes"])

    def __len__(self) -> int:
        return len(self.__dict__["nodes"])


def _lean_graph(graph: ir.Graph, replace: Replace) -> _View:
    initializers = {name: _lean_value(value, replace) for name, value in graph.initializers.items()}
    return _View(graph, nodes=_lean_nodes(graph, replace), initializers=initializers)


def _lean_value(value: ir.Value, replace: Replace) -> ir.Value | _View:
    tensor = value.const_value
    new = None if tensor is None else _stand_in(tensor, value.name, replace)
    return value if new is None else _View(value, const_value=new)


def _lean_nodes(nodes: Iterable[ir.Node], replace: Replace) -> list[ir.Node | _View]:
    return [
        _View(node, attributes=_lean_attributes(node.attributes, replace))
        if any(attr.type in HOLDERS for attr in node.attributes.values())
        else node
        for node in nodes
    ]


def _lean_attributes(attributes: Mapping[str, ir.Attr], replace: Replace) -> dict[str, ir.Attr]:
    return {name: _lean_attribute(attr, replace) for name, attr in attributes.items()}


def _lean_attribute(attr: ir.Attr, replace: Replace) -> ir.Attr:
    held: list[Any] = [_lean_graph(graph, replace) for graph in subgraphs(attr)]
    held += [_stand_in(t, t.name, replace) or t for t in tensors(attr)]
    if not held:
        return attr
    single = attr.type in (ir.AttributeType.GRAPH, ir.AttributeType.TENSOR)
    value = held[0] if single else held
    return ir.Attr(attr.name, attr.type, value, doc_string=attr.doc_string)


def _stand_in(
    tensor: ir.TensorProtocol, name: str | None, replace: Replace
) -> ir.TensorProtocol | None:
    proto = replace(tensor, name)
    if proto is None:
        return None
    # onnx_ir writes the metadata of a TensorProtoTensor in addition to its message's own.
    new = ir.serde.TensorProtoTensor(proto)
    new.metadata_props.update(tensor.metadata_props)
    return new


def _splice(
    data: memoryview, start: int, end: int, payloads: Sequence[ir.TensorProtocol]
) -> list[Payload | memoryview | bytes] | None:
    """The tensor at ``data[start:end]`` with raw data, in the place protobuf gives that field,
    instead of the mark; None where it has no mark.
    """
    cut, insert, payload = (start, start), end, None
    for at, number, _, low, high in wire.fields(data, start, end):
        if number == _SEGMENT:
            segment = onnx.TensorProto.Segment.FromString(bytes(data[low:high]))
            if segment.begin == _MARK:
                cut, payload = (at, high), Payload(payloads[segment.end])
        elif number > _RAW:
            insert = min(insert, at)
    if payload is None:
        return None
    before = [data[start : cut[0]], data[cut[1] : insert]]
    return [*before, wire.header(_RAW, payload.size), payload, data[insert:end]]


def _is_payload(tensor: ir.TensorProtocol) -> bool:
    """Whether a tensor is kept apart: it is large, or onnx_ir would write something else than its
    bytes (a reference to a file elsewhere, or metadata twice).
    """
    if tensor.dtype == ir.DataType.STRING:
        return False
    kinds = (ir.ExternalTensor, ir.serde.TensorProtoTensor)
    return tensor.nbytes >= PAYLOAD_BYTES or isinstance(tensor, kinds)


def _to_bytes(proto: onnx.ModelProto) -> bytes:
    try:
        data: bytes = proto.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise LimitError(
            "the model takes over 2 GiB without its weights", "less: the format cannot hold it"
        ) from error
    return data
