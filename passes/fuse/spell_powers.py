"""spell-powers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, all_nodes, constant_tensor, is_op, label, rank, scalar
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._affine import FLOATS
from onnxopt_passes.fuse._formulas import Formulas

_NOT_NEGATIVE = frozenset(
    {"Abs", "Exp", "ReduceL1", "ReduceL2", "ReduceSumSquare", "Relu", "Sigmoid", "Softmax", "Sqrt"}
)
_KEEPS_SIGN = frozenset(
    """
    AveragePool GlobalAveragePool GlobalMaxPool Identity MaxPool ReduceMax ReduceMean ReduceMin
    ReduceSum Reshape Slice Squeeze Transpose Unsqueeze
    """.split()  # noqa: SIM905 - readable
)
_DEPTH = 12
"""How far up a tensor is followed to see that it is not negative."""


@dataclass(frozen=True)
class SpellPowers(Pass):
    """``x² = x · x``, and ``x^½ = √x`` for an ``x`` that is not negative.

    ONNX Runtime's Pow looks its exponent up for each call and takes the general power for ½: a
    square takes 1.02 to 2.1 times as long as a product, a root 1.05 to 18 times as long as Sqrt,
    from 8 to 8 million numbers. ``x³`` by two products is slower.

    A negative ``x`` is left alone for the sake of ``-∞``, whose power is ``∞`` and whose root is
    not a number. So are normalizations that are still spelled out: the runtime makes one kernel of
    them, which it knows by the Pow.
    """

    looks_for = frozenset({"Pow"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Replace each Pow whose exponent is 2 or ½."""
        editor = Editor(model)
        powers = [node for node in all_nodes(model) if is_op(node, "Pow")]
        fused = {node for found in Formulas(model).normalizations for node in found.nodes}
        for node in powers:
            exponent, base = scalar(node.inputs[1]), node.inputs[0]
            if exponent not in (2.0, 0.5) or base is None or node in fused:
                continue
            reason = _reason_not(node, base, exponent)
            if reason is not None:
                yield Note.refused(node, reason)
                continue
            name = f"{label(node)}/product" if exponent == 2 else f"{label(node)}/root"
            op_type, inputs = ("Mul", [base, base]) if exponent == 2 else ("Sqrt", [base])
            new = editor.insert_before(node, op_type, inputs, name, origin=[node])
            editor.replace(node.outputs[0], new)
            editor.sweep(node)
            yield Note.applied(new, "a square" if exponent == 2 else "a square root")


def _reason_not(node: ir.Node, base: ir.Value, exponent: float) -> str | None:
    if (base.dtype or node.outputs[0].dtype) not in FLOATS:
        return "its numbers are not known to be floats"
    tensor = constant_tensor(node.inputs[1])
    axes = 0 if tensor is None else len(tensor.shape)
    if axes and (rank(base) or 0) < axes:
        return f"its exponent has {axes} axes, and what is raised may have fewer"
    if exponent != 2 and not _is_not_negative(base):
        return "what is raised may be negative"
    return None


def _is_not_negative(value: ir.Value | None) -> bool:
    """Whether the nodes above prove that no element is below zero."""
    for _ in range(_DEPTH):
        node = None if value is None else value.producer()
        if node is None or value is None:
            return False
        if is_op(node, *_NOT_NEGATIVE):
            return True
        if is_op(node, "Pow"):
            return scalar(node.inputs[1]) == 2
        if is_op(node, "Mul") and node.inputs[0] is node.inputs[1]:
            return True
        value = node.inputs[0]
        if is_op(node, "Add"):
            first, second = _number_first(node)
            if first is None or first < 0:
                return False
            value = second
        elif not is_op(node, *_KEEPS_SIGN):
            return False
    return False


def _number_first(node: ir.Node) -> tuple[float | None, ir.Value | None]:
    """The constant that a sum adds, and the other operand."""
    left, right = node.inputs
    number = scalar(left)
    return (number, right) if number is not None else (scalar(right), left)
