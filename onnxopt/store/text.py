"""ONNX text, for small graphs written and read by people."""

from __future__ import annotations

import math
import re

import onnx
import onnx.parser
import onnx.printer
import onnx_ir as ir

from onnxopt.errors import ModelError
from onnxopt.guard import DEFAULT_LIMITS, Limits, printable
from onnxopt.store.decode import decode
from onnxopt.store.encode import to_proto

SYNTAX = "https://onnx.ai/onnx/repo-docs/Syntax.html"
_POSITION = re.compile(r"\(line: (\d+) column: (\d+)\)")
_SHOWN_ELEMENTS = 16
_ELIDED = "\N{HORIZONTAL ELLIPSIS}"


def from_text(text: str, origin: str = "text", *, limits: Limits = DEFAULT_LIMITS) -> ir.Model:
    """Read ONNX text.

    Args:
        text: The model in ONNX's textual syntax. Names other than identifiers stand in quotes.
        origin: What error messages call the source; a position is appended.
        limits: What to refuse.

    Raises:
        ModelError: The text does not parse (the message gives line and column), or the model
            is not valid.
        LimitError: The model is larger than the limits allow.
    """
    try:
        proto = onnx.parser.parse_model(text)
    except onnx.parser.ParseError as error:
        raise _located(error, origin) from error
    return decode(memoryview(proto.SerializeToString()), origin, None, limits)


def to_text(model: ir.Model, *, elide_weights: bool = True) -> str:
    """Write a model as ONNX text.

    The result is for people: the parser does not read back every model's text (values of 4 and 2
    bits, names with line breaks), and the printer leaves out defaults of function attributes.

    Args:
        model: The model.
        elide_weights: Show an ellipsis for the values of tensors of more than 16 elements.
    """

    def elide(tensor: ir.TensorProtocol, name: str | None) -> onnx.TensorProto | None:
        if not elide_weights or math.prod(tensor.shape.numpy()) <= _SHOWN_ELEMENTS:
            return None
        stub = onnx.TensorProto(
            name=name,
            data_type=tensor.dtype.value,
            dims=tensor.shape.numpy(),
            data_location=onnx.TensorProto.EXTERNAL,
        )
        stub.external_data.add(key="location", value=_ELIDED)
        return stub

    proto = to_proto(model, elide)
    weights = {tensor.name for tensor in proto.graph.initializer}
    declared = [value for value in proto.graph.value_info if value.name not in weights]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(declared)
    text: str = onnx.printer.to_text(proto)
    return text.replace(f'["location": "{_ELIDED}"]', f"{{{_ELIDED}}}")


def _located(error: onnx.parser.ParseError, origin: str) -> ModelError:
    text = error.args[0]
    message = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    where = _POSITION.search(message)
    place = f":{where[1]}:{where[2]}" if where else ""
    reason = message.strip().splitlines()[-1]
    return ModelError(f"{origin}{place}: {printable(reason)}", "ONNX text", f"see {SYNTAX}")
