"""Which constants of a model are weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import onnx_ir as ir
import torch

from onnxopt.distill.bridge.coded import Coded, coding_of, constant_of
from onnxopt.distill.bridge.tensors import tensor_of, to_tensor
from onnxopt.graph import is_op

_SETTINGS = {
    "BatchNormalization": (3, 4),
    "Clip": (1, 2),
    "Dropout": (1,),
    "OneHot": (2,),
    "Pad": (2,),
    "Range": (0, 1, 2),
    "Resize": (1, 2),
    "Upsample": (1,),
}
"""Inputs that are settings or frozen statistics rather than weights."""

_POINTWISE = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Equal", "Less", "Greater", "Where")
_IMAGE_RANK = 4
_SCALED = ("QuantizeLinear", "DequantizeLinear")


class Weights:
    """The constants of a model as torch tensors: parameters where they can be trained.

    A name that several graphs use is no weight.

    Attributes:
        parameters: Weights by name.
        coded: How the integer ones among them are coded.
        scales: Names of those that are scales of codes.
    """

    def __init__(self, model: ir.Model, trainable: Callable[[str], bool] | None) -> None:
        self.parameters: dict[str, torch.nn.Parameter] = {}
        self.coded: dict[str, Coded] = {}
        self.scales: set[str] = set()
        self._trainable = trainable
        values = list(constants(model))
        names = Counter(value.name for value in values)
        self._weights = {v for v in values if names[v.name] == 1 and _is_weight(v)}

    def hold(self, value: ir.Value) -> torch.Tensor | None:
        """The tensor of an initializer or of a Constant's output; None where torch has none."""
        name, tensor = value.name, tensor_of(value)
        result = None if tensor is None else to_tensor(tensor)
        if result is None or name is None or value not in self._weights:
            return result
        coded = coding_of(value)
        scale = None if coded is None else constant_of(coded.scale)
        if coded is not None and scale is not None:
            self.coded[name] = coded
            result = coded.real(result, scale)
        elif not result.is_floating_point():
            return result
        elif _is_scale(value):
            self.scales.add(name)
        if result.dim() == _IMAGE_RANK:  # convolutions go by the layout of their weight
            result = result.contiguous(memory_format=torch.channels_last)
        parameter = torch.nn.Parameter(result, requires_grad=self._is_trainable(value, result))
        self.parameters[name] = parameter
        return parameter

    def _is_trainable(self, value: ir.Value, tensor: torch.Tensor) -> bool:
        if self._trainable is not None:
            return self._trainable(value.name or "")
        if _is_scale(value):
            return False
        return tensor.numel() > 1 or not all(is_op(n, *_POINTWISE) for n, _ in value.uses())


def constants(model: ir.Model) -> Iterator[ir.Value]:
    """All initializers and the outputs of all Constant nodes, those in bodies too.

    Functions are left out: what they hold belongs to every call alike.
    """
    for graph in (model.graph, *model.graph.subgraphs()):
        yield from graph.initializers.values()
        for node in graph:
            if is_op(node, "Constant"):
                yield node.outputs[0]


def _is_scale(value: ir.Value) -> bool:
    return any(is_op(node, *_SCALED) and index > 0 for node, index in value.uses())


def _is_weight(value: ir.Value) -> bool:
    if not value.name or value.is_graph_output():
        return False
    return not any(
        node.domain == "" and index in _SETTINGS.get(node.op_type, ())
        for node, index in value.uses()
    )
