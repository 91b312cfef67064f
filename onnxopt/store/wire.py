"""The protobuf wire format, as far as weights need it.

The protobuf library parses and writes whole messages, weights included, which holds a model in
memory two or three times. ``rewrite`` lets it work on a copy without the weights: it walks only
the messages that lead to tensors, hands each tensor to an ``edit`` and repairs the lengths of the
messages around it. Loading takes the weights out that way and saving puts them back in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import TypeVar

VARINT, I64, LEN, I32 = 0, 1, 2, 5
MAX_DEPTH = 100
"""How deep messages may nest; the protobuf library's own limit."""

TO_TENSORS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
}
"""Which field numbers of which message of onnx.proto lead to a TensorProto."""

Piece = TypeVar("Piece", bound=Sized)
Edit = Callable[[int, int], Sequence[Piece | memoryview | bytes] | None]


class WireError(ValueError):
    """The bytes break the wire format; the message says where."""


class DepthError(WireError):
    """Messages nest deeper than ``MAX_DEPTH``."""


def rewrite(
    data: memoryview,
    wanted: Callable[[int, int], bool],
    edit: Edit[Piece],
) -> list[Piece | memoryview | bytes]:
    """A serialized model in pieces, with some of its tensors rewritten.

    Args:
        data: A serialized ``ModelProto``.
        wanted: Whether the message at ``data[start:end]`` may hold a tensor to edit; where it
            says no, the message is not looked into.
        edit: Gives the new pieces of the tensor at ``data[start:end]``, or None to leave it.

    Raises:
        WireError: A message looked into is cut off or malformed.
    """
    pieces = _rewrite(data, (0, len(data)), "model", wanted, edit, MAX_DEPTH)
    return [data] if pieces is None else pieces


def fields(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """The fields of the message at ``data[start:end]``, each as its offset, number, wire type and
    the start and end of its content.
    """
    while start < end:
        tag, body = varint(data, start, end)
        kind = tag & 7
        if kind == LEN:
            size, body = varint(data, body, end)
        elif kind == VARINT:
            size = varint(data, body, end)[1] - body
        elif kind in (I64, I32):
            size = 8 if kind == I64 else 4
        else:
            raise WireError(f"wire type {kind} at byte {start}")
        if size > end - body:
            missing = size - (end - body)
            raise WireError(f"the field at byte {start} lacks {missing} of its {size} bytes")
        yield start, tag >> 3, kind, body, body + size
        start = body + size


def varint(data: memoryview, start: int, end: int) -> tuple[int, int]:
    """The variable-length integer at ``start``, and the offset after it."""
    value = shift = 0
    for position in range(start, min(start + 10, end)):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
    raise WireError(f"an unfinished integer at byte {start}")


def encode_varint(value: int) -> bytes:
    """A variable-length integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def header(number: int, size: int) -> bytes:
    """What stands before ``size`` bytes of content of a length-delimited field."""
    return encode_varint(number << 3 | LEN) + encode_varint(size)


def _rewrite(
    data: memoryview,
    span: tuple[int, int],
    message: str,
    wanted: Callable[[int, int], bool],
    edit: Edit[Piece],
    depth: int,
) -> list[Piece | memoryview | bytes] | None:
    if depth == 0:
        raise DepthError(f"messages nest deeper than {MAX_DEPTH} at byte {span[0]}")
    children = TO_TENSORS[message]
    pieces: list[Piece | memoryview | bytes] = []
    kept, end = span
    for start, number, kind, low, high in fields(data, *span):
        child = children.get(number)
        if child is None or kind != LEN or not wanted(low, high):
            continue
        if child == "tensor":
            new = edit(low, high)
        else:
            new = _rewrite(data, (low, high), child, wanted, edit, depth - 1)
        if new is not None:
            pieces += [data[kept:start], header(number, sum(map(len, new))), *new]
            kept = high
    if not pieces:
        return None
    pieces.append(data[kept:end])
    return pieces
