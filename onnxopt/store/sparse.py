"""Weights that a file holds as sparse initializers: values and places of what is not zero.

In memory every weight is dense; a tensor's metadata says that it is to be written sparsely, so
whoever puts another tensor in its place need not know. The format's places are int64 (ONNX Runtime
would read int32, the ONNX checker refuses it), so that a float32 weight is smaller only where less
than a third of it is not zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from onnxopt.errors import ModelError
from onnxopt.guard import printable
from onnxopt.store.tensors import element_type, to_bytes

_KEY, _SPARSE = "onnxopt.storage", "sparse"
_MARK = 0x7370_6172_7365_2121
_MESSAGE_BYTES = 64
_PLACE_BYTES = 8
_WIDTHS = (8, 16, 32, 64)
_PLACES_RANK = 2
_MOST_TIMES, _ANYWAY_BYTES = 10_000, 1 << 24


def marked(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """The same tensor, to be written sparsely where that is smaller."""
    return ir.Tensor(
        np.asarray(tensor.numpy()),
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=tensor.name,
        doc_string=tensor.doc_string or None,
        metadata_props={**tensor.metadata_props, _KEY: _SPARSE},
    )


def is_marked(tensor: ir.TensorProtocol) -> bool:
    """Whether a tensor is to be written sparsely."""
    return tensor.metadata_props.get(_KEY) == _SPARSE


def saved_bytes(tensor: ir.TensorProtocol) -> int:
    """How many bytes a file is smaller with the tensor in sparse form; 0 where it is not.

    Only elements of 1, 2, 4 or 8 bytes have such a form. Bits decide: -0.0 is not zero.
    """
    if tensor.dtype == ir.DataType.STRING or tensor.dtype.bitwidth not in _WIDTHS:
        return 0
    size = tensor.dtype.bitwidth // 8
    kept = int(np.count_nonzero(_bits(tensor)))
    return max(tensor.nbytes - kept * (size + _PLACE_BYTES) - _MESSAGE_BYTES, 0)


class SparseParts:
    """The tensors of one model that are written sparsely."""

    def __init__(self) -> None:
        self._held: list[ir.TensorProtocol] = []

    def stub(self, tensor: ir.TensorProtocol, name: str | None) -> onnx.TensorProto | None:
        """What stands for the tensor until ``settle``; None for one to be written densely."""
        if not is_marked(tensor) or not saved_bytes(tensor):
            return None
        proto = onnx.TensorProto(
            name=name or None, data_type=tensor.dtype.value, dims=tensor.shape.numpy()
        )
        proto.segment.begin, proto.segment.end = _MARK, len(self._held)
        self._held.append(tensor)
        return proto

    def settle(self, model: onnx.ModelProto) -> None:
        """Put the tensors where their stubs are: sparsely where that is an initializer."""
        if not self._held:
            return
        for graph in _graphs(model):
            for index in reversed(range(len(graph.initializer))):
                stub = graph.initializer[index]
                if stub.segment.begin == _MARK:
                    made = _to_sparse(self._held[stub.segment.end], stub)
                    graph.sparse_initializer.insert(0, made)
                    del graph.initializer[index]
            for stub in _attribute_tensors(graph):
                if stub.segment.begin == _MARK:
                    stub.raw_data = bytes(to_bytes(self._held[stub.segment.end]))
                    stub.ClearField("segment")


def densify(graph: onnx.GraphProto) -> None:
    """Turn the sparse initializers of a parsed graph into dense ones, marked as such.

    Raises:
        ModelError: One is malformed, or far larger than what it holds.
    """
    if graph.sparse_initializer:
        graph.initializer.extend([_to_dense(sparse) for sparse in graph.sparse_initializer])
        del graph.sparse_initializer[:]


def _bits(tensor: ir.TensorProtocol) -> npt.NDArray[np.unsignedinteger]:
    return np.frombuffer(to_bytes(tensor), f"<u{tensor.dtype.bitwidth // 8}")


def _to_sparse(tensor: ir.TensorProtocol, stub: onnx.TensorProto) -> onnx.SparseTensorProto:
    bits = _bits(tensor)
    places = np.flatnonzero(bits)
    made = onnx.SparseTensorProto(dims=stub.dims)
    made.values.name, made.values.data_type = stub.name, stub.data_type
    made.values.dims.append(places.size)
    made.values.raw_data = bits[places].tobytes()
    made.indices.data_type = onnx.TensorProto.INT64
    made.indices.dims.append(places.size)
    made.indices.raw_data = places.astype("<i8").tobytes()
    return made


def _to_dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    name, dims = sparse.values.name, tuple(sparse.dims)
    shown = f"sparse initializer {printable(name)!r}"
    if any(dim < 0 for dim in dims):
        raise ModelError(f"{shown} has shape {list(dims)}", "no negative size")
    external = onnx.TensorProto.EXTERNAL
    if external in (sparse.values.data_location, sparse.indices.data_location):
        raise ModelError(f"{shown} has external data", "its data in the model file")
    dtype = element_type(sparse.values.data_type, name)
    size = math.prod(dims) * dtype.bitwidth // 8
    if size > max(_ANYWAY_BYTES, _MOST_TIMES * sparse.ByteSize()):
        raise ModelError(
            f"{shown} of {sparse.ByteSize()} bytes stands for {size:,}",
            f"at most {_MOST_TIMES:,} times as many",
        )
    try:
        values = onnx.numpy_helper.to_array(sparse.values).reshape(-1)
        places = _places(onnx.numpy_helper.to_array(sparse.indices), dims)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{shown} cannot be read: {error}") from error
    if values.shape != places.shape or (places.size and not _is_inside(places, math.prod(dims))):
        raise ModelError(
            f"{shown} has {values.size} values and {places.size} places",
            f"as many, inside {list(dims)}",
        )
    dense = np.zeros(math.prod(dims), values.dtype)
    dense[places] = values
    made = onnx.numpy_helper.from_array(dense.reshape(dims), name)
    made.data_type = sparse.values.data_type
    made.metadata_props.add(key=_KEY, value=_SPARSE)
    return made


def _places(indices: npt.NDArray[np.generic], dims: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Places in the flattened tensor; ONNX allows those, int64 [n], and axis by axis, [n, rank]."""
    if indices.dtype.kind not in "iu":
        raise ValueError(f"places of type {indices.dtype}")
    whole = indices.astype(np.int64)
    if whole.ndim == 1:
        return whole
    if whole.ndim != _PLACES_RANK or whole.shape[1] != len(dims):
        raise ValueError(f"places of shape {list(whole.shape)} for {len(dims)} axes")
    if whole.size and ((whole < 0) | (whole >= np.array(dims))).any():
        raise ValueError(f"a place outside {list(dims)}")
    return np.asarray(np.ravel_multi_index(tuple(whole.T), dims), np.int64)


def _is_inside(places: npt.NDArray[np.int64], size: int) -> bool:
    return bool(places.min() >= 0 and places.max() < size)


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and all below it; functions have no initializers but their bodies may."""
    pending = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while pending or nodes:
        if pending:
            graph = pending.pop()
            yield graph
            nodes += graph.node
        for node in nodes:
            for attribute in node.attribute:
                pending += [attribute.g] if attribute.HasField("g") else attribute.graphs
        nodes = []


def _attribute_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
