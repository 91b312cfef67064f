"""A model's proto with what shape inference reads and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
import onnx_ir as ir

_KEPT_BYTES = 1024
_A = ir.AttributeType
_NUMBERS = {_A.INT: "i", _A.INTS: "ints", _A.FLOAT: "f", _A.FLOATS: "floats"}


class Writer:
    """Writes down parts of a model without texts, metadata and large tensors.

    Tensors above 1 KiB are reduced to name, type and shape; what is smaller keeps its data, because
    shapes, axes and scales stand there. Sizes below 0, as some exporters write for those that they
    do not know, are left out. The model stays as it is.

    Attributes:
        proto: The result.
        symbols: The names of sizes in it.
    """

    def __init__(self, model: ir.Model, opsets: Mapping[str, int], *, declared: bool) -> None:
        self.proto = onnx.ModelProto(ir_version=model.ir_version)
        self._declared = declared
        self._shapes: dict[tuple[object, ...], onnx.TypeProto] = {}
        _write_opsets(self.proto.opset_import, opsets)

    @property
    def symbols(self) -> frozenset[str]:
        """The names of sizes that the model itself uses."""
        dims = (dim for key in self._shapes for dim in key[1:])
        return frozenset(dim for dim in dims if isinstance(dim, str))

    def _graph(self, proto: onnx.GraphProto, graph: ir.Graph, *, inputs_count: bool) -> None:
        proto.name = graph.name or "graph"
        for value in graph.inputs:
            self._info(proto.input.add(), value, shaped=inputs_count or self._declared)
        for value in graph.outputs:
            self._info(proto.output.add(), value, shaped=self._declared)
        for name, value in graph.initializers.items():
            if value.const_value is not None:
                _write_tensor(proto.initializer.add(), value.const_value, name)
        nodes, infos = proto.node, proto.value_info
        for node in graph:
            self._node(nodes.add(), node)
            if not self._declared:
                continue
            for value in node.outputs:
                if value.name and value.type is not None and not value.is_graph_output():
                    self._info(infos.add(), value, shaped=True)

    def _node(self, proto: onnx.NodeProto, node: ir.Node) -> None:
        proto.op_type = node.op_type
        if node.domain:
            proto.domain = node.domain
        if node.name:
            proto.name = node.name  # errors tell it
        if node.overload:
            proto.overload = node.overload
        proto.input.extend("" if value is None else value.name or "" for value in node.inputs)
        proto.output.extend(value.name or "" for value in node.outputs)
        while proto.output and not proto.output[-1]:
            proto.output.pop()
        for attr in node.attributes.data.values():
            self._attribute(proto.attribute.add(), attr)

    def _attribute(self, proto: onnx.AttributeProto, attr: ir.Attr) -> None:
        kind = attr.type
        if attr.is_ref():
            ir.serde.serialize_reference_attribute_into(proto, from_=attr)
            return
        field = _NUMBERS.get(kind)
        if field is None and kind not in (_A.TENSOR, _A.GRAPH, _A.GRAPHS):
            ir.serde.serialize_attribute_into(proto, from_=attr)
            return
        proto.name = attr.name
        proto.type = kind.value  # type: ignore[assignment]
        if field in ("i", "f"):
            setattr(proto, field, attr.value)
        elif field is not None:
            getattr(proto, field).extend(attr.value)
        elif kind == _A.TENSOR:
            _write_tensor(proto.t, attr.value, attr.value.name or "")
        elif kind == _A.GRAPH:
            self._graph(proto.g, attr.value, inputs_count=False)
        else:
            for graph in attr.value:
                self._graph(proto.graphs.add(), graph, inputs_count=False)

    def _function(self, proto: onnx.FunctionProto, function: ir.Function) -> None:
        proto.domain, proto.name = function.domain, function.name
        if function.overload:
            proto.overload = function.overload
        _write_opsets(proto.opset_import, function.opset_imports)
        proto.input.extend(value.name or "" for value in function.inputs)
        proto.output.extend(value.name or "" for value in function.outputs)
        for attr in function.attributes.values():
            if attr.value is None:
                proto.attribute.append(attr.name)
            else:
                self._attribute(proto.attribute_proto.add(), attr)
        for node in function:
            self._node(proto.node.add(), node)

    def _info(self, proto: onnx.ValueInfoProto, value: ir.Value, *, shaped: bool) -> None:
        proto.name = value.name or ""
        kind, shape = value.type, value.shape if shaped else None
        if kind is None:
            return
        if not isinstance(kind, ir.TensorType):
            ir.serde.serialize_type_into(proto.type, kind)
            if shape is not None:
                ir.serde.serialize_shape_into(proto.type, shape)
            return
        dims: Iterable[object] = (None,) if shape is None else map(_plain, shape)
        key = (kind.dtype, shape is None, *dims)
        known = self._shapes.get(key)
        if known is None:
            known = self._shapes[key] = _tensor_type(kind.dtype, shape)
        proto.type.CopyFrom(known)


class Outline(Writer):
    """A whole model in outline."""

    def __init__(self, model: ir.Model, *, declared: bool) -> None:
        """Write it down.

        Args:
            model: The model.
            declared: Whether to write the types and shapes of values in between, and the shapes of
                outputs, as the file declares them.
        """
        super().__init__(model, model.opset_imports, declared=declared)
        for function in model.functions.values():
            self._function(self.proto.functions.add(), function)
        self._graph(self.proto.graph, model.graph, inputs_count=True)


def _tensor_type(dtype: ir.DataType, shape: ir.Shape | None) -> onnx.TypeProto:
    proto = onnx.TypeProto()
    proto.tensor_type.elem_type = int(dtype)
    if shape is None:
        return proto
    proto.tensor_type.shape.ClearField("dim")
    for dim in map(_plain, shape):
        entry = proto.tensor_type.shape.dim.add()
        if isinstance(dim, int):
            entry.dim_value = dim
        elif dim is not None:
            entry.dim_param = dim
    return proto


def _plain(dim: int | ir.SymbolicDim) -> int | str | None:
    if isinstance(dim, int):
        return dim if dim >= 0 else None
    return dim.value


def _write_tensor(proto: onnx.TensorProto, tensor: ir.TensorProtocol, name: str) -> None:
    if name:
        proto.name = name
    proto.data_type = int(tensor.dtype)
    proto.dims.extend(tensor.shape.numpy())
    if tensor.nbytes > _KEPT_BYTES:
        proto.data_location = onnx.TensorProto.EXTERNAL
        proto.external_data.add(key="location", value="detached")
    elif tensor.dtype == ir.DataType.STRING:
        items = tensor.numpy().reshape(-1)
        proto.string_data.extend(x if isinstance(x, bytes) else str(x).encode() for x in items)
    else:
        proto.raw_data = tensor.tobytes()


def _write_opsets(protos: object, imports: Mapping[str, int]) -> None:
    for domain, version in imports.items():
        protos.add(domain=domain, version=version)  # type: ignore[attr-defined]
