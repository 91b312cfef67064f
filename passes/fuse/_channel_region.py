"""Tensors whose channels some Convs make and others read, with only nodes between that keep them.

Such tensors can have more channels than the model asks for: who makes them gets weights of zeros
for those, and who reads them weighs them with zeros. What lies between must stay finite, as ``0·∞``
is not 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import Editor, constant, drop_if_unread, is_op, label, use_count
from onnxopt_passes.fuse._convolution import Convolution, Folded, read_convolution
from onnxopt_passes.fuse._shape import Layout, Layouts

_RANK = 4

_UNARY = frozenset(
    """
    Abs AveragePool Celu Clip Elu Erf Gelu GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish
    Identity LeakyRelu MaxPool Mish Neg Relu Selu Sigmoid Softplus Softsign Swish Tanh
    """.split()  # noqa: SIM905 - readable
)
"""Keep channels apart and are finite wherever their input is."""

_BINARY = frozenset({"Add", "Max", "Min", "Mul", "PRelu", "Sub"})


@dataclass
class ChannelRegion:
    """All tensors that have the same channels because the nodes between them keep them.

    Attributes:
        channels: How many.
        values: The tensors.
        makers: Convs that compute one of them from other channels.
        readers: Convs that compute other channels from one of them; may also be makers.
        between: Depthwise Convs from one of them to another.
        vectors: Constants along the channels, by the node and the place of the input.
    """

    channels: int
    values: list[ir.Value] = field(default_factory=list)
    makers: dict[ir.Node, Convolution] = field(default_factory=dict)
    readers: dict[ir.Node, Convolution] = field(default_factory=dict)
    between: dict[ir.Node, Convolution] = field(default_factory=dict)
    vectors: dict[tuple[ir.Node, int], npt.NDArray[np.generic]] = field(default_factory=dict)

    def widen(self, editor: Editor, added: int) -> None:
        """Add channels that no result depends on."""
        for node in {**self.makers, **self.readers, **self.between}:
            self._widen_conv(editor, node, added)
        for (node, place), vector in self.vectors.items():
            axis = vector.ndim - (_RANK - 1)
            name = f"{label(node)}/channels"
            wide = editor.constant(node, name, _with_zeros(vector, axis, added))
            old = node.inputs[place]
            node.replace_input_with(place, wide)
            if old is not None:
                drop_if_unread(old)
        for value in self.values:
            value.name = editor.fresh(f"{value.name}/wide")
            if value.shape is not None:
                dims = list(value.shape)
                dims[1] = self.channels + added
                value.shape = ir.Shape(dims)

    def _widen_conv(self, editor: Editor, node: ir.Node, added: int) -> None:
        conv = self.makers.get(node) or self.readers.get(node) or self.between[node]
        weight, bias = conv.weight.numpy(), None
        if node in self.makers or node in self.between:
            weight = _with_zeros(weight, 0, added)
            offset = constant(node.inputs[2]) if len(node.inputs) > 2 else None
            bias = None if offset is None else _with_zeros(offset, 0, added)
        if node in self.readers:
            weight = _with_zeros(weight, 1, added)
        Folded(conv, weight, bias).write(editor)
        if node in self.between:
            node.attributes["group"] = ir.AttrInt64("group", conv.group + added)


def _with_zeros(array: npt.NDArray[np.generic], axis: int, added: int) -> npt.NDArray[np.generic]:
    amounts = [(0, 0)] * array.ndim
    amounts[axis] = (0, added)
    return np.pad(array, amounts)


def channel_region(layouts: Layouts, start: ir.Value, channels: int) -> ChannelRegion | str:
    """The region around a tensor of rank 4, or why its channels have to be as many as they are."""
    region = ChannelRegion(channels)
    pending, seen = [start], {start}
    while pending:
        value = pending.pop()
        region.values.append(value)
        found = _neighbours(region, layouts, value)
        if isinstance(found, str):
            return found
        for other in found:
            if other not in seen:
                seen.add(other)
                pending.append(other)
    return region


def _neighbours(region: ChannelRegion, layouts: Layouts, value: ir.Value) -> list[ir.Value] | str:
    """What has the same channels as a value because of who makes it and who reads it."""
    producer = value.producer()
    if producer is None or value.is_graph_output():
        return f"the model gives or takes {value.name}"
    found = _through(region, layouts, producer, value)
    if isinstance(found, str):
        return found
    if not use_count(value):
        return f"nothing reads {value.name}"
    for reader, place in value.uses():
        if reader.graph is not producer.graph:
            return f"{label(reader)}, in another graph, reads {value.name}"
        through = _read_by(region, layouts, reader, place)
        if isinstance(through, str):
            return through
        found += through
    return found


def _through(
    region: ChannelRegion, layouts: Layouts, node: ir.Node, value: ir.Value
) -> list[ir.Value] | str:
    """The tensors of the region that a node reads, to compute one that belongs to it."""
    beside = [out for out in node.outputs if out is not value]
    if any(use_count(out) or out.is_graph_output() for out in beside):
        return f"{label(node)} computes more than channels"
    if not is_op(node, "Conv"):
        return _kept(region, layouts, node)
    conv = read_convolution(node)
    reason = _obstacle(conv, node)
    if reason is not None or not isinstance(conv, Convolution):
        return reason or f"{label(node)} has no constant weights"
    if conv.shape[0] != region.channels:
        return f"{label(node)} computes other channels than declared"
    if conv.group == 1:
        region.makers[node] = conv
        return []
    if conv.group == region.channels and conv.shape[1] == 1 and node.inputs[0] is not None:
        region.between[node] = conv
        return [node.inputs[0]]
    return f"{label(node)} has groups"


def _read_by(
    region: ChannelRegion, layouts: Layouts, node: ir.Node, place: int
) -> list[ir.Value] | str:
    """The tensors of the region that a node relates to one that it reads."""
    if not is_op(node, "Conv"):
        found = _kept(region, layouts, node)
        return found if isinstance(found, str) else [*found, node.outputs[0]]
    conv = read_convolution(node)
    reason = _obstacle(conv, node)
    if place or reason is not None or not isinstance(conv, Convolution):
        return reason or f"{label(node)} has no constant weights"
    if conv.group == 1 and conv.shape[1] == region.channels:
        region.readers[node] = conv
        return []
    if conv.group == region.channels == conv.shape[0] and conv.shape[1] == 1:
        return [node.outputs[0]]
    return f"{label(node)} has groups"


def _obstacle(conv: Convolution | str | None, node: ir.Node) -> str | None:
    if not isinstance(conv, Convolution):
        return conv
    if len(conv.shape) != _RANK or conv.weight.dtype != ir.DataType.FLOAT:
        return f"{label(node)} is no Conv of float32 images"
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and constant(bias) is None:
        return f"the bias of {label(node)} is not constant"
    return None


def _kept(region: ChannelRegion, layouts: Layouts, node: ir.Node) -> list[ir.Value] | str:
    """The tensors of the region that a node without weights reads."""
    if any(attr.is_ref() for attr in node.attributes.values()):
        return f"attributes of {label(node)} are parameters of the function"
    if is_op(node, *_UNARY) and node.inputs[0] is not None:
        return [node.inputs[0]]
    if not is_op(node, *_BINARY):
        return f"{label(node)} ({node.op_type}) needs the channels as they are"
    found = []
    for place, value in enumerate(node.inputs):
        if value is None:
            return f"{label(node)} is malformed"
        array = constant(value)
        layout = layouts[value]
        if array is not None:
            if not _take_constant(region, node, place, array):
                return f"{label(node)} adds a constant to more than the channels"
        elif layout == Layout(_RANK, region.channels):
            found.append(value)
        elif layout != Layout(_RANK, 1):
            return f"{label(node)} reads {value.name}, whose channels are not known"
    return found


def _take_constant(
    region: ChannelRegion, node: ir.Node, place: int, array: npt.NDArray[np.generic]
) -> bool:
    """Whether a constant is one number or one a channel; the latter has to grow."""
    if array.size == 1:
        return array.ndim <= _RANK
    axis = array.ndim - (_RANK - 1)
    if axis < 0 or array.ndim > _RANK or array.shape[axis] != array.size:
        return False
    if array.size != region.channels:
        return False
    region.vectors[node, place] = array
    return True
