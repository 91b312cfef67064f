"""A model's proto without its weights, for the C++ side of the onnx package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import onnx
import onnx_ir as ir

from onnxopt import graph as edit

_KEPT_BYTES = 1024


def detached_proto(model: ir.Model) -> onnx.ModelProto:
    """Serialize a model with every tensor above 1 KiB reduced to its name, type and shape.

    What is smaller keeps its data, because shapes, axes and scales stand there. The model is
    changed while this runs and restored before it returns.
    """
    with ExitStack() as stack:
        for graph in edit.all_graphs(model):
            for value in graph.initializers.values():
                if _is_heavy(value.const_value):
                    stack.enter_context(_without_data(value))
            for node in graph:
                for name, attr in list(node.attributes.items()) if node.attributes else ():
                    is_tensor = attr.type == ir.AttributeType.TENSOR and not attr.is_ref()
                    if is_tensor and _is_heavy(attr.as_tensor()):
                        stack.enter_context(_without_tensor(node, name, attr))
        return ir.to_proto(model)


def _is_heavy(tensor: ir.TensorProtocol | None) -> bool:
    """Whether a tensor is too large to write, or costly to write as it is."""
    if tensor is None:
        return False
    return isinstance(tensor, ir.ExternalTensor) or tensor.nbytes > _KEPT_BYTES


@contextmanager
def _without_data(value: ir.Value) -> Iterator[None]:
    tensor = value.const_value
    if tensor is not None:
        value.const_value = _stand_in(tensor)
    try:
        yield
    finally:
        value.const_value = tensor


@contextmanager
def _without_tensor(node: ir.Node, name: str, attr: ir.Attr) -> Iterator[None]:
    node.attributes[name] = ir.AttrTensor(name, _stand_in(attr.as_tensor()))
    try:
        yield
    finally:
        node.attributes[name] = attr


def _stand_in(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if tensor.nbytes > _KEPT_BYTES:
        shape = ir.Shape(tensor.shape.numpy())
        return ir.ExternalTensor(
            "detached", None, None, tensor.dtype, shape=shape, name=tensor.name or ""
        )
    if isinstance(tensor, ir.ExternalTensor):  # written inline; far cheaper to make than ir.Tensor
        return ir.LazyTensor(lambda: tensor, tensor.dtype, tensor.shape, name=tensor.name)
    return tensor
