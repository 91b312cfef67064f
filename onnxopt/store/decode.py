"""Bytes to model: the weights stay where they are, everything else is parsed."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from onnxopt.errors import InvalidInputError, LimitError, ModelError, OnnxoptError
from onnxopt.guard import Limits, check, tensors
from onnxopt.store import carry, serde, wire
from onnxopt.store.files import DataFolder
from onnxopt.store.order import settle
from onnxopt.store.tensors import (
    PAYLOAD_BYTES,
    element_type,
    from_bytes,
    from_proto,
    from_strings,
    payload_size,
)
from onnxopt.store.vet import vet

_TYPE, _SEGMENT, _FLOATS, _RAW, _DOUBLES = 2, 3, 4, 9, 10
_LAID_OUT_AS_RAW = {
    _FLOATS: (onnx.TensorProto.FLOAT, onnx.TensorProto.COMPLEX64),
    _DOUBLES: (onnx.TensorProto.DOUBLE, onnx.TensorProto.COMPLEX128),
}
_MESSAGE_LENGTH = 500
_SIGNATURES = {
    b"PK\x03\x04": "a zip archive",
    b"\x89PNG": "a PNG image",
    b"\x1f\x8b": "a gzip archive",
    b"version https://git-lfs": "a git LFS pointer, not the model itself",
    b"<": "text, perhaps ONNX text (which has the suffix .onnxtxt) or a web page",
    b"{": "JSON",
}
_AT_4 = {b"TFL3": "a TensorFlow Lite model", b"ORTM": "an ONNX Runtime (.ort) model"}


def decode(data: memoryview, origin: str, folder: DataFolder | None, limits: Limits) -> ir.Model:
    """Build the model that ``data`` holds.

    Args:
        data: A serialized ``ModelProto``; weights of the result are views of it.
        origin: What error messages call the source.
        folder: Where external data is; None where the source has no folder.
        limits: What to refuse.

    Raises:
        ModelError: ``data`` is no valid model.
        LimitError: It is larger than the limits allow.
    """
    try:
        payloads = _Payloads(data, folder)
        proto = _parse(data, payloads)
        vet(proto, limits)
        carried = carry.take(proto)
        model = serde.read(proto)
        _attach(model, payloads.resolve)
        check(model, limits)
        settle(model)
        carry.attach(model, carried)
    except (InvalidInputError, LimitError) as error:
        raise _about(origin, error) from error.__cause__
    return model


class _Payloads:
    """The weights of one model: spans of its own bytes, and external data.

    Each payload taken out of the model is noted in its tensor's ``segment``, which no ONNX tool
    writes or reads, as where it begins and ends.
    """

    def __init__(self, data: memoryview, folder: DataFolder | None) -> None:
        self._data = data
        self._folder = folder
        self._spans: set[tuple[int, int]] = set()

    def cut(self, start: int, end: int) -> list[memoryview | bytes] | None:
        """The tensor at ``data[start:end]`` with its payload replaced by a segment, or None where
        it has none to speak of.
        """
        kind, found = 0, []
        for at, number, _, low, high in wire.fields(self._data, start, end):
            if number == _TYPE:
                kind = wire.varint(self._data, low, high)[0]
            elif number == _SEGMENT:
                return None
            elif number == _RAW or kind in _LAID_OUT_AS_RAW.get(number, ()):
                found.append((at, low, high))
        if len(found) != 1 or found[0][2] - found[0][1] < PAYLOAD_BYTES:
            return None
        at, low, high = found[0]
        self._spans.add((low, high))
        segment = onnx.TensorProto.Segment(begin=low, end=high).SerializeToString()
        mark = wire.header(_SEGMENT, len(segment)) + segment
        return [self._data[start:at], mark, self._data[high:end]]

    def resolve(self, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        """The tensor with its data, checked against its type and shape."""
        if isinstance(tensor, ir.StringTensor):
            return from_strings(tensor)
        if isinstance(tensor, ir.ExternalTensor):
            return self._external(tensor)
        if not isinstance(tensor, ir.serde.TensorProtoTensor):
            raise TypeError(f"onnx_ir made a {type(tensor).__name__}")
        proto = tensor.raw
        if not proto.HasField("segment"):
            return from_proto(proto, tensor)
        span = proto.segment.begin, proto.segment.end
        if span not in self._spans:
            raise ModelError(f"tensor {tensor.name!r} is segmented", "its data in one piece")
        dtype = element_type(proto.data_type, tensor.name)
        return from_bytes(self._data[slice(*span)], dtype, tuple(proto.dims), tensor)

    def _external(self, tensor: ir.ExternalTensor) -> ir.TensorProtocol:
        if self._folder is None:
            raise ModelError(
                f"tensor {tensor.name!r} has external data",
                "a model that holds its weights",
                "load it from its path",
            )
        dtype = element_type(tensor.dtype, tensor.name)
        dims = tensor.shape.numpy()
        size = payload_size(dtype, dims, tensor.name)
        if tensor.length is not None and tensor.length != size:
            raise ModelError(
                f"external tensor {tensor.name!r} has length {tensor.length}",
                f"{size} for {dtype.name.lower()}{list(dims)}",
            )
        data = self._folder.read(str(tensor.location), tensor.offset or 0, size)
        return from_bytes(data, dtype, dims, tensor)


def _parse(data: memoryview, payloads: _Payloads) -> onnx.ModelProto:
    def wanted(start: int, end: int) -> bool:
        return end - start >= PAYLOAD_BYTES

    try:
        proto = onnx.ModelProto()
        proto.ParseFromString(b"".join(wire.rewrite(data, wanted, payloads.cut)))
    except wire.DepthError as error:
        raise LimitError(str(error), "a flatter model") from error
    except (wire.WireError, DecodeError) as error:
        raise _unreadable(data, error) from error
    return proto


def _unreadable(data: memoryview, error: Exception) -> OnnxoptError:
    head = bytes(data[:64])
    for mark, name in _SIGNATURES.items():
        if head.startswith(mark):
            return ModelError(f"this is {name}", "an ONNX model")
    if head[4:8] in _AT_4:
        return ModelError(f"this is {_AT_4[head[4:8]]}", "an ONNX model")
    try:  # The protobuf library says that it failed, a full walk says where.
        wire.rewrite(data, lambda start, end: True, lambda start, end: None)
    except wire.DepthError as deep:
        return LimitError(str(deep), "a flatter model")
    except wire.WireError as broken:
        error = broken
    reason = str(error).rsplit(": ", maxsplit=1)[-1]
    if "MaxDepth" in reason:  # elsewhere than on the way to tensors, as in types of sequences
        return LimitError(f"messages nest deeper than {wire.MAX_DEPTH}", "a flatter model")
    return ModelError(
        f"this is truncated or no ONNX model: {reason}",
        "a complete .onnx file",
        "export or download it again",
    )


def _attach(model: ir.Model, resolve: Callable[[ir.TensorProtocol], ir.TensorProtocol]) -> None:
    functions = model.functions.values()
    for function in functions:
        _attach_attributes(function.attributes, resolve)
    for root in (model.graph, *(function.graph for function in functions)):
        for graph in (root, *root.subgraphs()):
            for value in graph.initializers.values():
                if value.const_value is not None:
                    value.const_value = resolve(value.const_value)
            for node in graph:
                if node.attributes:
                    _attach_attributes(node.attributes, resolve)


def _attach_attributes(
    attributes: MutableMapping[str, ir.Attr],
    resolve: Callable[[ir.TensorProtocol], ir.TensorProtocol],
) -> None:
    for name, attr in list(attributes.items()):
        held = tensors(attr)
        if held:
            new = [resolve(tensor) for tensor in held]
            value = new[0] if attr.type == ir.AttributeType.TENSOR else new
            attributes[name] = ir.Attr(attr.name, attr.type, value, doc_string=attr.doc_string)


def _about(origin: str, error: OnnxoptError) -> OnnxoptError:
    return type(error)(f"{origin}: {error.found[:_MESSAGE_LENGTH]}", error.wanted, error.todo)
