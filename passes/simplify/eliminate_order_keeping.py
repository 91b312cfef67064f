"""Takes away what does not change which element is the largest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.simplify._facts import Facts, facts_of

_OPPOSITE = {"ArgMax": "ArgMin", "ArgMin": "ArgMax"}
_ONE_AXIS_SINCE = 13
_LEVELS_OFF = {
    "Exp": "overflows",
    "HardSigmoid": "is flat outside a range",
    "Relu": "is 0 for all that is negative",
    "Sigmoid": "rounds to 1 for large arguments",
    "Softplus": "underflows",
    "Tanh": "rounds to 1 for large arguments",
}


@dataclass(frozen=True)
class EliminateOrderKeeping(Pass):
    """ArgMax(Softmax(x)) → ArgMax(x); ArgMax(-x) → ArgMin(x).

    For LogSoftmax too, and for finite factors and divisors other than 0, where negative ones
    exchange ArgMax and ArgMin. Softmax has to normalize along the axis of the search, and nothing
    else may read its result. Up to rounding: of elements so near each other that the function
    rounds them to the same, the original takes the first, the result the larger. Functions that
    level off are refused: they do so to elements that are far apart. So is ArgMin of a Softmax,
    whose small results underflow.
    """

    looks_for = frozenset(_OPPOSITE)

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Look above each ArgMax and ArgMin, as far as there is something to take away."""
        facts, editor = facts_of(model), Editor(model)
        for node, version in edit.nodes_with_opset(model):
            while node.graph is not None and edit.is_op(node, *_OPPOSITE):
                found = _above(node)
                reason = None if found is None else _obstacle(node, found, version, facts)
                if found is None or reason is not None:
                    if reason:
                        yield Note.refused(node, reason)
                    break
                yield _skip(editor, node, found)


def _above(node: ir.Node) -> ir.Node | None:
    """The node whose only reader is the search."""
    value = node.inputs[0]
    maker = None if value is None else value.producer()
    if value is None or maker is None or maker.domain or len(maker.outputs) != 1:
        return None
    return maker if edit.only_consumer(value) is node else None


def _obstacle(node: ir.Node, above: ir.Node, version: int, facts: Facts) -> str | None:
    """Why a node above a search has to stay; empty where that is no news."""
    if any(attr.is_ref() for attr in (*node.attributes.values(), *above.attributes.values())):
        return ""
    if above.op_type in _LEVELS_OFF:
        return f"{above.op_type} {_LEVELS_OFF[above.op_type]}, so more elements are the largest"
    if above.op_type in ("Softmax", "LogSoftmax"):
        if not _along_one_axis(node, above, version, facts):
            return f"{above.op_type} may normalize along another axis"
        if node.op_type == "ArgMin" and above.op_type == "Softmax":
            return "small results of Softmax underflow, so more elements are the smallest"
        return None
    return None if above.op_type == "Neg" or _factor(above) else ""


def _along_one_axis(node: ir.Node, above: ir.Node, version: int, facts: Facts) -> bool:
    """Whether all elements that a search compares are divided by the same sum."""
    since = version >= _ONE_AXIS_SINCE
    axis = edit.attribute(node, "axis", 0)
    normal = edit.attribute(above, "axis", -1 if since else 1)
    if not (isinstance(axis, int) and isinstance(normal, int)):
        return False
    shape = facts.shape(above.inputs[0])
    if shape is None:
        return since and axis == normal
    rank = len(shape)
    if not (-rank <= axis < rank and -rank <= normal < rank):
        return False
    return axis % rank == normal % rank if since else axis % rank >= normal % rank


def _factor(node: ir.Node) -> float:
    """The number that a Mul or Div multiplies or divides by; 0 where that is none to skip."""
    place = _number_place(node)
    number = None if place is None else edit.scalar(node.inputs[place])
    return number if number is not None and math.isfinite(number) else 0.0


def _number_place(node: ir.Node) -> int | None:
    """Which operand of a Mul or Div is a constant without axes, and the other is no constant."""
    if node.op_type not in ("Mul", "Div") or len(node.inputs) != 2:
        return None
    for place in (1,) if node.op_type == "Div" else (1, 0):
        tensor = edit.constant_tensor(node.inputs[place])
        if tensor is not None and not len(tensor.shape):
            return None if edit.is_constant(node.inputs[1 - place]) else place
    return None


def _skip(editor: Editor, node: ir.Node, above: ir.Node) -> Note:
    place = _number_place(above)
    source = above.inputs[0 if place is None else 1 - place]
    if above.op_type == "Neg" or _factor(above) < 0:
        node.op_type = _OPPOSITE[node.op_type]
    edit.record_origin(node, [node, above])
    node.replace_input_with(0, source)
    editor.sweep(above)
    return Note.applied(node, f"searches what {above.op_type} was made of")
