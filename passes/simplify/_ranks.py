"""Numbers of axes, followed node by node under an assumption, and the nodes that fail by them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping

import onnx_ir as ir

from onnxopt import graph as edit

BRANCHES = ("then_branch", "else_branch")

_KEEPS = frozenset(
    """
    Abs AveragePool BatchNormalization Cast Ceil Celu Clip CumSum Dropout Elu Erf Exp Floor Gelu
    GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity InstanceNormalization
    LayerNormalization LeakyRelu Log LogSoftmax Mish Neg Not Pad Reciprocal Relu Round Selu Sigmoid
    Sign Slice Softmax Softplus Softsign Sqrt Tanh
    """.split()  # noqa: SIM905 - readable
)
_BROADCASTS = frozenset(
    """
    Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mul Or PRelu Pow Sub Where Xor
    """.split()  # noqa: SIM905 - readable
)
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
_SEQUENCE = 3
_MATRIX = 2
_COMPARISONS = {
    "And": operator.and_,
    "Equal": operator.eq,
    "Greater": operator.gt,
    "GreaterOrEqual": operator.ge,
    "Less": operator.lt,
    "LessOrEqual": operator.le,
    "Or": operator.or_,
}


class Ranks:
    """Numbers of axes of values, and what conditions that are made of these come to.

    Attributes:
        failed: The first node seen that cannot run, and how many axes it would read.
    """

    def __init__(self, known: Mapping[ir.Value, int]) -> None:
        """Start from what is known without any assumption."""
        self._known = known
        self._found: dict[ir.Value, int | None] = {}
        self._numbers: dict[ir.Value, int] = {}
        self.failed: tuple[ir.Node, int] | None = None

    def __getitem__(self, value: ir.Value | None) -> int | None:
        """The rank of a value; None where it does not follow."""
        if value is None:
            return None
        if value in self._found:
            return self._found[value]
        tensor = edit.constant_tensor(value)
        return len(tensor.shape) if tensor is not None else self._known.get(value)

    def assume(self, value: ir.Value, rank: int | None) -> None:
        """Let a value have this rank."""
        self._found[value] = rank

    def run(self, nodes: Iterable[ir.Node]) -> None:
        """Follow nodes that run one after the other, until one fails."""
        for node in nodes:
            if self.failed is not None:
                return
            rank = self[node.inputs[0]] if node.inputs else None
            if rank is not None and fails(node, rank) and _leads_out(node):
                self.failed = (node, rank)
            elif edit.is_op(node, "If") and _leads_out(node):
                self._choose(node)
            else:
                self._find(node)

    def take(self, node: ir.Node, branch: ir.Graph) -> None:
        """Follow a branch of an If, which gives then what the branch does."""
        self.run(branch)
        for old, new in zip(node.outputs, branch.outputs, strict=True):
            self.assume(old, self[new])

    def _choose(self, node: ir.Node) -> None:
        """Follow the branch of an If that its condition leads to."""
        condition = self._number(node.inputs[0])
        attr = node.attributes.get(BRANCHES[0] if condition else BRANCHES[1])
        if condition is not None and attr is not None and not attr.is_ref():
            self.take(node, attr.as_graph())
            return
        for out in node.outputs:
            self.assume(out, self._known.get(out))

    def _find(self, node: ir.Node) -> None:
        """What a node computes: its rank, and its value where it is about ranks."""
        for out in node.outputs:
            self.assume(out, None)
        if not node.outputs or node.domain:
            return
        rank, out = self._rank(node), node.outputs[0]
        self.assume(out, rank if rank is not None else self._known.get(out))
        if node.op_type in _RECURRENT and len(node.outputs) > 1:
            for state in node.outputs[1:]:
                self.assume(state, _SEQUENCE)
        number = self._computed(node)
        if number is not None:
            self._numbers[out] = number

    def _rank(self, node: ir.Node) -> int | None:
        first = self[node.inputs[0]] if node.inputs else None
        if node.op_type in _KEEPS or node.op_type in {"Concat", "Conv", "MaxPool", "Transpose"}:
            return first
        if node.op_type in _BROADCASTS:
            ranks = [self[value] for value in node.inputs]
            known = [rank for rank in ranks if rank is not None]
            return max(known) if known and len(known) == len(ranks) else None
        if node.op_type in {"Squeeze", "Unsqueeze"} and first is not None:
            axes = _axes(node)
            if axes is None:
                return None
            return first + axes if node.op_type == "Unsqueeze" else first - axes
        if node.op_type in _RECURRENT:
            return _SEQUENCE + 1
        fixed = {"Shape": 1, "Size": 0, "Gemm": _MATRIX, "Flatten": _MATRIX}
        return fixed.get(node.op_type)

    def _computed(self, node: ir.Node) -> int | None:
        """A number of axes, or what is asked about one."""
        if node.op_type == "Size":
            shape = node.inputs[0].producer() if node.inputs[0] is not None else None
            return self[shape.inputs[0]] if shape is not None and _is_whole_shape(shape) else None
        operands = [self._number(value) for value in node.inputs]
        numbers = [number for number in operands if number is not None]
        if not numbers or len(numbers) < len(operands):
            return None
        if node.op_type == "Cast":
            to_bool = edit.attribute(node, "to", 0) == ir.DataType.BOOL.value
            return int(numbers[0] != 0) if to_bool else numbers[0]
        if node.op_type == "Identity":
            return numbers[0]
        if node.op_type == "Not":
            return int(not numbers[0])
        compare = _COMPARISONS.get(node.op_type)
        return None if compare is None else int(compare(*numbers))

    def _number(self, value: ir.Value | None) -> int | None:
        """The one whole number that a value is, where known."""
        if value is None or value in self._numbers:
            return None if value is None else self._numbers[value]
        array = edit.constant(value)
        if array is None or array.size != 1 or array.dtype.kind not in "bi":
            return None
        return int(array.reshape(()))


def fails(node: ir.Node, rank: int) -> bool:
    """Whether a node cannot run on a first input of so many axes."""
    if edit.is_op(node, *_RECURRENT):
        return rank != _SEQUENCE
    if edit.is_op(node, "Gemm"):
        return rank != _MATRIX
    if edit.is_op(node, "Transpose"):
        order = node.attributes.get("perm")
        return order is not None and not order.is_ref() and len(order.as_ints()) != rank
    weight = edit.constant_tensor(node.inputs[1]) if edit.is_op(node, "Conv") else None
    return weight is not None and rank != len(weight.shape)


def _leads_out(node: ir.Node) -> bool:
    """Whether a graph output depends on a node, without which a runtime may leave it out."""
    pending, seen = [node], {node}
    while pending:
        for out in pending.pop().outputs:
            if out.is_graph_output():
                return True
            readers = {use.node for use in out.uses()} - seen
            seen |= readers
            pending += readers
    return False


def _is_whole_shape(node: ir.Node) -> bool:
    return edit.is_op(node, "Shape") and not {"start", "end"} & set(node.attributes)


def _axes(node: ir.Node) -> int | None:
    """How many axes a Squeeze or Unsqueeze names."""
    attr = node.attributes.get("axes")
    if attr is not None:
        return None if attr.is_ref() else len(attr.as_ints())
    given = edit.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if given is None else given.size
