"""The body of a function as shape inference can read it by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from onnxopt_passes.simplify._calls import takes_options
from onnxopt_passes.simplify._outline import Writer

_UNKNOWN_OP = "?"


class BodyOutline(Writer):
    """The body of a function as the main graph of a model, with the functions that it calls.

    A node with options that the callers give is written as an unknown op: inference would take
    the default. Options that are single floats are left out instead, no shape follows from them.
    """

    def __init__(
        self,
        model: ir.Model,
        function: ir.Function,
        inputs: Sequence[onnx.TypeProto | None],
        constants: Mapping[ir.Value, npt.NDArray[np.generic]],
    ) -> None:
        """Write it down.

        Args:
            model: The model that defines the function.
            function: The function.
            inputs: The types of its inputs; None for what is not known.
            constants: Those inputs that always hold the same.
        """
        super().__init__(model, function.opset_imports, declared=False)
        self._in_body = False
        for callee in _callees(model, function):
            self._function(self.proto.functions.add(), callee)
        self._in_body = True
        graph = self.proto.graph
        self._graph(graph, function.graph, inputs_count=False)
        for info in (*graph.input, *graph.output):
            info.ClearField("type")
        for place, (value, given) in reversed(
            list(enumerate(zip(function.inputs, inputs, strict=True)))
        ):
            if value in constants:
                del graph.input[place]
                tensor = onnx.numpy_helper.from_array(constants[value], value.name)
                graph.initializer.append(tensor)
            elif given is not None:
                graph.input[place].type.CopyFrom(given)

    def _node(self, proto: onnx.NodeProto, node: ir.Node) -> None:
        super()._node(proto, node)
        if not self._in_body or not takes_options(node):
            return
        for place in reversed(range(len(proto.attribute))):
            attr = proto.attribute[place]
            if not attr.ref_attr_name:
                continue
            if attr.type != onnx.AttributeProto.FLOAT:
                proto.op_type = _UNKNOWN_OP
            del proto.attribute[place]


def _callees(model: ir.Model, function: ir.Function) -> list[ir.Function]:
    """The functions that a function calls, by way of others too."""
    found: dict[ir.OperatorIdentifier, ir.Function] = {}
    pending = [function]
    while pending:
        for node in pending.pop().all_nodes():
            key = node.op_identifier()
            if key in model.functions and key not in found:
                found[key] = model.functions[key]
                pending.append(found[key])
    return list(found.values())
