"""The protobuf wire format against the protobuf library, and against broken bytes."""

from __future__ import annotations

import onnx
import onnx.helper as oh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxopt.store import wire


@given(st.integers(0, 2**64 - 1))
def test_varints(value: int) -> None:
    encoded = wire.encode_varint(value)
    proto = onnx.TensorProto(dims=[value - 2**64 if value >= 2**63 else value])
    assert proto.SerializeToString() == b"\x08" + encoded
    assert wire.varint(memoryview(encoded + b"rest"), 0, len(encoded)) == (value, len(encoded))
    with pytest.raises(wire.WireError):
        wire.varint(memoryview(encoded), 0, len(encoded) - 1)


def test_varints_end_after_ten_bytes() -> None:
    with pytest.raises(wire.WireError, match="unfinished integer at byte 0"):
        wire.varint(memoryview(b"\xff" * 20), 0, 20)


def test_fields_of_every_wire_type() -> None:
    tensor = onnx.TensorProto(dims=[300], data_type=1, name="n", float_data=[1.0])
    attribute = onnx.AttributeProto(name="a", f=1.5, i=-1, t=tensor)
    data = memoryview(attribute.SerializeToString())
    found = {number: bytes(data[lo:hi]) for _, number, _, lo, hi in wire.fields(data, 0, len(data))}
    assert found == {
        1: b"a",
        2: b"\0\0\xc0?",
        3: wire.encode_varint(2**64 - 1),
        5: tensor.SerializeToString(),
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a", "unfinished integer at byte 1"),
        (b"\x0a\x05ab", "the field at byte 0 lacks 3 of its 5 bytes"),
        (b"\x09abc", "the field at byte 0 lacks 5 of its 8 bytes"),
        (b"\x0b", "wire type 3 at byte 0"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "lacks"),
    ],
)
def test_broken_fields(data: bytes, message: str) -> None:
    with pytest.raises(wire.WireError, match=message):
        list(wire.fields(memoryview(data), 0, len(data)))


@given(st.lists(st.binary(max_size=300), max_size=6), st.data())
def test_rewriting_equals_editing_the_message(payloads: list[bytes], data: st.DataObject) -> None:
    def tensor(payload: bytes) -> onnx.TensorProto:
        return onnx.TensorProto(name="t", raw_data=payload)

    def model(contents: list[bytes]) -> bytes:
        nodes = []
        graph = oh.make_graph(nodes, "inner", [], [])
        for index, payload in enumerate(contents):
            if index % 3 == 0:
                graph.initializer.append(tensor(payload))
            elif index % 3 == 1:
                graph.node.append(oh.make_node("Constant", [], ["c"], value=tensor(payload)))
            else:
                outer = oh.make_graph([], "outer", [], [])
                outer.node.add(op_type="If").attribute.add(name="b", g=graph)
                graph = outer
        return onnx.ModelProto(ir_version=9, graph=graph).SerializeToString()

    replacements = [data.draw(st.binary(max_size=300)) for _ in payloads]
    for index in range(2, len(payloads), 3):
        replacements[index] = payloads[index]
    table = dict(zip(payloads, replacements, strict=True))
    source = memoryview(model([*table]))

    def edit(start: int, end: int) -> list[bytes] | None:
        proto = onnx.TensorProto.FromString(bytes(source[start:end]))
        new = table[proto.raw_data]
        return None if new == proto.raw_data else [tensor(new).SerializeToString()]

    pieces = wire.rewrite(source, lambda start, end: True, edit)
    assert b"".join(pieces) == model([*table.values()])


def test_depth() -> None:
    body = b""
    for _ in range(60):
        body = wire.header(1, len(body)) + body
        body = wire.header(5, len(body)) + body
        body = wire.header(6, len(body)) + body
    data = memoryview(wire.header(7, 1) + b"\0")
    assert wire.rewrite(data, lambda start, end: False, lambda start, end: None) == [data]
    nested = b""
    for _ in range(60):
        attribute = wire.header(6, len(nested)) + nested
        node = wire.header(5, len(attribute)) + attribute
        nested = wire.header(1, len(node)) + node
    data = memoryview(wire.header(7, len(nested)) + nested)
    with pytest.raises(wire.DepthError, match="deeper than 100"):
        wire.rewrite(data, lambda start, end: True, lambda start, end: None)
