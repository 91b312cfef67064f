"""onnx's shape inference, matched back to the values of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from onnxopt import graph as edit
from onnxopt_passes.simplify._body_outline import BodyOutline
from onnxopt_passes.simplify._outline import Outline, Writer

_GENERATED = "unk__"
_NO_NUMBERS = (ir.DataType.STRING, ir.DataType.UNDEFINED)
_BITS = {dtype: dtype.bitwidth for dtype in ir.DataType if dtype not in _NO_NUMBERS}
_TEXT_BITS = 128


@dataclass(frozen=True)
class Inferred:
    """What inference says of one value; None where it does not know. Equal values share it."""

    type: ir.TypeProtocol | None
    shape: ir.Shape | None

    @property
    def nbytes(self) -> int | None:
        """Size of a tensor of fully known type and shape; for text, of its bookkeeping."""
        if self.shape is None or not isinstance(self.type, ir.TensorType):
            return None
        count = 1
        for dim in self.shape:
            if not isinstance(dim, int):
                return None
            count *= dim
        return count * _BITS.get(self.type.dtype, _TEXT_BITS) // 8


class InferenceFailed(Exception):
    """onnx could not infer shapes; the message is its own, on one line."""


def infer(model: ir.Model, *, trust_declared: bool = True) -> Mapping[ir.Value, Inferred]:
    """Infer types and shapes of all node outputs of the main graph and its subgraphs.

    The inputs of the main graph are in the result as they are declared: a runtime checks those.

    Args:
        model: Stays as it is; weights above 1 KiB are not looked at.
        trust_declared: Whether what the file declares for values other than inputs counts as
            known. Such declarations may be stale.

    Raises:
        InferenceFailed: onnx gave up on the whole model.
    """
    protos, known = _infer(model, trust_declared)
    found: dict[bytes, Inferred] = {}
    return {value: _read(proto, known, found) for value, proto in protos.items()}


def infer_protos(model: ir.Model) -> dict[ir.Value, onnx.TypeProto]:
    """As ``infer`` without trust, but in onnx's own words: sizes that it made up names for keep
    them, and within one result equal names are equal sizes.
    """
    return _infer(model, trust_declared=False)[0]


def infer_body(
    model: ir.Model,
    function: ir.Function,
    inputs: Sequence[onnx.TypeProto | None],
    constants: Mapping[ir.Value, npt.NDArray[np.generic]],
) -> Mapping[ir.Value, onnx.TypeProto]:
    """As ``infer_protos`` for the body of a function, from what its inputs are.

    Args:
        model: The model that defines it; stays as it is.
        function: The function.
        inputs: Their types; None for what is not known.
        constants: Those inputs that always hold the same.

    Raises:
        InferenceFailed: onnx gave up on the body.
    """
    result = _run(BodyOutline(model, function, inputs, constants))
    return dict(_match(function.graph, result.graph))


def _run(outline: Writer) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(outline.proto, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError, DecodeError) as error:
        raise InferenceFailed(" ".join(str(error).split())) from error


def _infer(
    model: ir.Model, trust_declared: bool
) -> tuple[dict[ir.Value, onnx.TypeProto], frozenset[str]]:
    """What onnx infers, and the names of sizes that the model itself uses."""
    outline = Outline(model, declared=trust_declared)
    result = _run(outline)
    types = {info.name: info.type for info in result.graph.input}
    inputs = {v: types[v.name] for v in model.graph.inputs if v.name}
    return inputs | dict(_match(model.graph, result.graph)), outline.symbols


def _match(graph: ir.Graph, proto: onnx.GraphProto) -> Iterator[tuple[ir.Value, onnx.TypeProto]]:
    """Pair values by their place: names of sibling subgraphs may coincide."""
    types = {info.name: info.type for info in (*proto.value_info, *proto.output)}
    for node, node_proto in zip(graph, proto.node, strict=True):
        for value in node.outputs:
            if value.name and value.name in types:
                yield value, types[value.name]
        for subgraph, subproto in zip(edit.subgraphs(node), _subprotos(node_proto), strict=True):
            yield from _match(subgraph, subproto)


def _read(proto: onnx.TypeProto, known: frozenset[str], found: dict[bytes, Inferred]) -> Inferred:
    """What a message says; equal ones are read once."""
    text = proto.SerializeToString()
    if text not in found:
        shape = ir.serde.deserialize_type_proto_for_shape(proto)
        if shape is not None:
            shape = ir.Shape([_dim(dim, known) for dim in shape], frozen=True)
        found[text] = Inferred(ir.serde.deserialize_type_proto_for_type(proto), shape)
    return found[text]


def _dim(dim: int | ir.SymbolicDim, known: frozenset[str]) -> int | str | None:
    """A size, or a name that the model itself uses: names made up by onnx mean nothing later."""
    if isinstance(dim, int):
        return dim
    made_up = dim.value is not None and dim.value.startswith(_GENERATED)
    return None if made_up and dim.value not in known else dim.value


def _subprotos(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attr in node.attribute:
        if attr.HasField("g"):
            yield attr.g
        yield from attr.graphs
