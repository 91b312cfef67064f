"""What the nodes themselves prove about ranks and channel counts, where nothing is declared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import all_nodes, attribute, is_op

ORDER_ONLY = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that leave every number as it is and only place it elsewhere."""

_KEEPS_CHANNELS = frozenset(
    """
    Abs AveragePool BatchNormalization Cast Ceil Celu Clip Dropout Elu Erf Exp Floor Gelu
    GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization HardSigmoid HardSwish Hardmax
    Identity InstanceNormalization LRN LayerNormalization LeakyRelu Log LogSoftmax MaxPool
    MeanVarianceNormalization Mish Neg PRelu Reciprocal Relu Round Selu Sigmoid Sign Softmax
    Softplus Softsign Sqrt Swish Tanh ThresholdedRelu
    """.split()  # noqa: SIM905 - readable
)
_KEEPS_RANK = _KEEPS_CHANNELS | {"CumSum", "Pad", "Resize", "Transpose", "Upsample"}
_BROADCASTS = frozenset({"Add", "Div", "Max", "Mean", "Min", "Mul", "Pow", "Sub", "Sum", "Where"})


@dataclass(frozen=True)
class Layout:
    """Number of axes and size of the axis along which the channels lie; None where unknown."""

    rank: int | None = None
    channels: int | None = None
    axis: int = 1


class Layouts:
    """The layouts of all values of a model, read in one sweep when first asked for one.

    What the nodes prove counts more than what the file declares: files exist that declare the
    wrong shapes.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._known: dict[ir.Value, Layout] = {}
        self._swept = False

    def __getitem__(self, value: ir.Value) -> Layout:
        """The layout of one value; a value made after the sweep is read from its own node."""
        if not self._swept:
            self._sweep()
        if value not in self._known:
            self._known[value] = self._read(value)
        return self._known[value]

    def _sweep(self) -> None:
        """Read all from the top, which no depth of the graph makes recursive."""
        self._swept = True
        for node in all_nodes(self._model):
            for value in node.outputs:
                self._known[value] = self._read(value)

    def _read(self, value: ir.Value) -> Layout:
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is not None and isinstance(tensor.shape, ir.Shape):
            return _declared(tensor.shape)
        proved, declared = self._prove(value), _declared(value.shape)
        if proved.rank is None:
            return declared
        if proved.channels is None and proved.rank == declared.rank:
            return declared
        return proved

    def _prove(self, value: ir.Value) -> Layout:
        node = value.producer()
        if node is None or value.index() != 0 or not node.inputs or node.inputs[0] is None:
            return Layout()
        if is_op(node, "Conv", "ConvTranspose"):
            return self._convolution(node)
        source = self[node.inputs[0]]
        if is_op(node, *_KEEPS_CHANNELS):
            return source
        if is_op(node, *_KEEPS_RANK):
            return Layout(source.rank)
        if is_op(node, "MatMul"):
            return self._matmul(node)
        return self._broadcast(node) if is_op(node, *_BROADCASTS) else Layout()

    def _convolution(self, node: ir.Node) -> Layout:
        weight, group = node.inputs[1], node.attributes.get("group")
        if weight is None:
            return Layout()
        shape = _shape(weight)
        if shape is None or len(shape) < 3:
            return Layout()
        outputs = shape[0] if node.op_type == "Conv" else shape[1]
        if not isinstance(outputs, int) or (group is not None and group.is_ref()):
            return Layout(len(shape))
        groups = int(str(attribute(node, "group", 1))) if node.op_type != "Conv" else 1
        return Layout(len(shape), outputs * groups)

    def _matmul(self, node: ir.Node) -> Layout:
        ranks = [None if value is None else self[value].rank for value in node.inputs]
        known = [rank for rank in ranks if rank is not None]
        return Layout(max(known)) if len(known) == len(ranks) and min(known) > 1 else Layout()

    def _broadcast(self, node: ir.Node) -> Layout:
        sources = [self[value] for value in node.inputs if value is not None]
        ranks = [source.rank for source in sources if source.rank is not None]
        if len(ranks) < len(sources):
            return Layout()
        rank = max(ranks)
        if rank < 2:
            return Layout(rank)
        sizes = {self._axis_1(value, rank) for value in node.inputs if value is not None}
        wide = sizes - {1}
        known = None not in sizes and len(wide) < 2
        return Layout(rank, next(iter(wide), 1) if known else None)

    def _axis_1(self, value: ir.Value, rank: int) -> int | None:
        """The size that a value contributes to axis 1 of a result of a known rank."""
        own = self[value]
        if own.rank == rank:
            return own.channels
        shape = _shape(value)
        position = 1 - (rank - (own.rank or 0))
        if position < 0:
            return 1
        size = shape[position] if shape is not None else None
        return size if isinstance(size, int) else None


def element_type(nodes: Iterable[ir.Node]) -> ir.DataType | None:
    """The first known type among what some elementwise nodes read and compute."""
    for node in nodes:
        for value in (*node.inputs, *node.outputs):
            tensor = None if value is None else ir.convenience.get_const_tensor(value)
            typed = value if tensor is None else tensor
            dtype = None if typed is None else typed.dtype
            if dtype is not None and dtype != ir.DataType.UNDEFINED:
                return dtype
    return None


def _shape(value: ir.Value) -> ir.Shape | None:
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is not None and isinstance(tensor.shape, ir.Shape):
        return tensor.shape
    return value.shape


def _declared(shape: ir.Shape | None) -> Layout:
    if shape is None:
        return Layout()
    channels = shape[1] if len(shape) > 1 else None
    return Layout(len(shape), channels if isinstance(channels, int) else None)
