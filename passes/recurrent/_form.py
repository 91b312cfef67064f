"""Ranks and widths (sizes of the last axis) that the nodes themselves prove."""

from __future__ import annotations

from dataclasses import dataclass
from operator import add, floordiv, mul, sub

import onnx_ir as ir

from onnxopt.graph import is_op
from onnxopt_passes.recurrent._affine import constant_shape
from onnxopt_passes.recurrent._reading import (
    Resolve,
    axes_of,
    ints,
    operand,
    sizes_of,
    split_source,
    whole,
)

_UNARY = frozenset(
    """
    Abs Cast Clip CumSum Dropout Elu Erf Exp Floor HardSigmoid HardSwish Identity LeakyRelu Log Neg
    Not Relu ReverseSequence Round ScatterND Sigmoid Softmax Softplus Softsign Sqrt Tanh
    ThresholdedRelu
    """.split()  # noqa: SIM905 - readable
)
_BINARY = frozenset(
    {
        "Add",
        "And",
        "Div",
        "Equal",
        "Greater",
        "Less",
        "Max",
        "Min",
        "Mul",
        "Or",
        "Sub",
        "Sum",
        "Where",
    }
)
_HIDDEN_OUTPUTS = {"LSTM": (4, 3, 3), "GRU": (4, 3), "RNN": (4, 3)}


_ARITHMETIC = {"Add": add, "Sub": sub, "Mul": mul, "Div": floordiv}
_INTEGERS = (ir.TensorType(ir.DataType.INT64), ir.TensorType(ir.DataType.INT32))
_DEEPEST = 8


@dataclass(frozen=True)
class Form:
    """Number of axes and size of the last; None where unknown."""

    rank: int | None = None
    width: int | None = None


class Forms:
    """The forms of the values that were visited; of others, what is declared.

    What the nodes prove counts more than what the file declares: files exist that declare 0 for
    a size they do not know.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._known: dict[ir.Value, Form] = {}

    def __getitem__(self, value: ir.Value) -> Form:
        """The form of a value."""
        value = self._resolve(value)
        known = self._known.get(value)
        if known is None:
            shape = constant_shape(value)
            return _declared(value) if shape is None else Form(len(shape), (shape or (None,))[-1])
        return known

    def ints(self, value: ir.Value) -> tuple[int, ...] | None:
        """The numbers of an integer tensor: a constant's, or computed from known widths."""
        return self._ints(value, _DEEPEST)

    def _ints(self, value: ir.Value, depth: int) -> tuple[int, ...] | None:
        value = self._resolve(value)
        known, node = ints(value), value.producer()
        if known is not None or node is None or not depth or value.type not in _INTEGERS:
            return known
        if is_op(node, "Gather") and node.inputs[0] is not None and node.inputs[1] is not None:
            return self._shape_element(self._resolve(node.inputs[0]).producer(), node.inputs[1])
        if is_op(node, "Cast", "Squeeze", "Unsqueeze") and node.inputs[0] is not None:
            return self._ints(node.inputs[0], depth - 1)
        if not is_op(node, *_ARITHMETIC) or len(node.inputs) != 2 or None in node.inputs:
            return None
        left, right = (self._ints(part, depth - 1) for part in node.inputs if part is not None)
        if left is None or right is None or len(left) != 1 or len(right) != 1:
            return None
        if node.op_type == "Div" and (left[0] < 0 or right[0] <= 0):
            return None
        return (_ARITHMETIC[node.op_type](left[0], right[0]),)

    def _shape_element(self, shape: ir.Node | None, index: ir.Value) -> tuple[int] | None:
        """The width of a value, read as the last element of its shape."""
        at, source = ints(self._resolve(index)), None if shape is None else operand(shape, 0)
        if at is None or len(at) != 1 or source is None or shape is None:
            return None
        plain = is_op(shape, "Shape") and not shape.attributes
        width = self[source].width
        return (width,) if plain and width is not None and self.is_last(source, at[0]) else None

    def is_last(self, value: ir.Value, axis: int) -> bool:
        """Whether an axis is the last of a value."""
        rank = self[value].rank
        return axis == -1 or (rank is not None and axis == rank - 1)

    def axis(self, value: ir.Value, axis: int) -> int | None:
        """An axis counted from the front; None where the rank is needed and unknown."""
        rank = self[value].rank
        return axis if axis >= 0 else None if rank is None else axis + rank

    def parts(self, value: ir.Value, width: int) -> list[tuple[ir.Value, int]] | None:
        """The values that a Concat along the last axis joins, with their widths; else itself."""
        value = self._resolve(value)
        node = value.producer()
        joined = node is not None and is_op(node, "Concat")
        if node is None or not joined or not self.is_last(value, whole(node, "axis", 0)):
            return [(value, width)]
        sources = [source for source in node.inputs if source is not None]
        widths = [self[source].width for source in sources]
        if widths.count(None) == 1:
            rest = width - sum(size for size in widths if size is not None)
            widths[widths.index(None)] = rest
        known = [size for size in widths if size is not None and size > 0]
        if len(known) != len(sources) or sum(known) != width:
            return None
        return list(zip(sources, known, strict=True))

    def visit(self, node: ir.Node) -> None:
        """Note what a node proves about its outputs."""
        for value in node.outputs:
            proved, declared = self._prove(node, value), _declared(value)
            rank = declared.rank if proved.rank is None else proved.rank
            width = declared.width if proved.width is None else proved.width
            self._known[value] = Form(rank, width)

    def _prove(self, node: ir.Node, value: ir.Value) -> Form:
        source = operand(node, 0)
        if is_op(node, *_HIDDEN_OUTPUTS):
            ranks = _HIDDEN_OUTPUTS[node.op_type]
            return Form(ranks[value.index() or 0], whole(node, "hidden_size", 0) or None)
        if is_op(node, *_BINARY):
            return self._broadcast(node)
        if source is None:
            return Form()
        if is_op(node, *_UNARY):
            return self[source] if value.index() == 0 else Form()
        if is_op(node, "MatMul", "Gemm"):
            return self._product(node, source)
        if is_op(node, "SequenceAt"):
            return self._of_sequence(source)
        if is_op(node, "Range"):
            return Form(1)
        if is_op(node, "Gather", "GatherND"):
            by_rows = is_op(node, "GatherND")
            return (self._picked_by_rows if by_rows else self._picked)(node, source)
        return self._filled(node, source) or self._moved(node, value, source)

    def _filled(self, node: ir.Node, source: ir.Value) -> Form | None:
        """What is proved by a vector that is a shape."""
        if is_op(node, "Shape"):
            return Form(1, None if node.attributes else self[source].rank)
        if is_op(node, "ConstantOfShape"):
            return Form(self[source].width)
        if is_op(node, "Expand") and node.inputs[1] is not None:
            length, own = self[node.inputs[1]].width, self[source].rank
            return Form(None if length is None or own is None else max(length, own))
        return None

    def _moved(self, node: ir.Node, value: ir.Value, source: ir.Value) -> Form:
        known = self[source]
        if is_op(node, "Split"):
            return self._part(node, value, source)
        if is_op(node, "Concat"):
            widths = [None if part is None else self[part].width for part in node.inputs]
            sized = [width for width in widths if width is not None]
            last = self.is_last(source, whole(node, "axis", 0)) and len(sized) == len(widths)
            return Form(known.rank, sum(sized) if last else None)
        if is_op(node, "Slice"):
            return Form(known.rank)
        if is_op(node, "Transpose"):
            perm = node.attributes.get("perm")
            order = () if perm is None else tuple(perm.as_ints())
            keeps = bool(order) and order[-1] == len(order) - 1
            return Form(known.rank, known.width if keeps else None)
        if is_op(node, "Squeeze", "Unsqueeze") and known.rank is not None:
            axes = axes_of(node, self.ints)
            sign = 1 if is_op(node, "Unsqueeze") else -1
            if axes is None:
                return Form()
            vector = is_op(node, "Unsqueeze") and known.rank == 0
            return Form(known.rank + sign * len(axes), 1 if vector and len(axes) == 1 else None)
        return Form()

    def _of_sequence(self, sequence: ir.Value) -> Form:
        node = self._resolve(sequence).producer()
        source = split_source(node, self._resolve)
        if source is None or node is None or self[source].rank is None:
            return Form()
        last = self.is_last(source, whole(node, "axis", 0))
        return Form((self[source].rank or 0) - 1, None if last else self[source].width)

    def _part(self, node: ir.Node, value: ir.Value, source: ir.Value) -> Form:
        known, sizes = self[source], sizes_of(node, self.ints)
        if not self.is_last(source, whole(node, "axis", 0)):
            return known
        if sizes is not None:
            return Form(known.rank, sizes[value.index() or 0])
        return Form(known.rank, known.width and known.width // len(node.outputs))

    def _picked(self, node: ir.Node, source: ir.Value) -> Form:
        known = self[source]
        index = Form() if node.inputs[1] is None else self[node.inputs[1]]
        if known.rank is None or index.rank is None:
            return Form()
        last = self.is_last(source, whole(node, "axis", 0))
        return Form(known.rank + index.rank - 1, index.width if last else known.width)

    def _picked_by_rows(self, node: ir.Node, source: ir.Value) -> Form:
        known = self[source]
        index = Form() if node.inputs[1] is None else self[node.inputs[1]]
        if known.rank is None or index.rank is None or index.width is None:
            return Form()
        left = known.rank - index.width - whole(node, "batch_dims", 0)
        return Form(index.rank - 1 + left, known.width if left > 0 else None)

    def _product(self, node: ir.Node, source: ir.Value) -> Form:
        weight = node.inputs[1]
        shape = None if weight is None else constant_shape(self._resolve(weight))
        if is_op(node, "Gemm"):
            width = None if shape is None else shape[0 if whole(node, "transB", 0) else 1]
            return Form(2, width)
        if shape is None or len(shape) != 2:
            return Form()
        return Form(self[source].rank, shape[1])

    def _broadcast(self, node: ir.Node) -> Form:
        forms = [self[value] for value in node.inputs if value is not None]
        ranks = [form.rank for form in forms if form.rank is not None]
        widths = [form.width for form in forms if form.width is not None]
        rank = max(ranks) if len(ranks) == len(forms) and ranks else None
        return Form(rank, max(widths) if widths and max(widths) > 1 else None)


def _declared(value: ir.Value) -> Form:
    if value.shape is None:
        return Form()
    last = value.shape[-1] if len(value.shape) else None
    return Form(len(value.shape), last if isinstance(last, int) and last > 0 else None)
