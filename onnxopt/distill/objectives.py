"""What each output of a model says, read from the graph that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from onnxopt.graph import attribute, is_constant, is_op, opset

Kind = Literal["classes", "scores", "gates", "embedding", "numbers"]
"""``classes``: scores in front of a Softmax or LogSoftmax, their sum free. ``scores``: a linear
layer's, as a classifier without Softmax gives. ``gates``: scores in front of a Sigmoid.
``embedding``: of unit length or normalized. ``numbers``: anything else."""

_PASSING = ("Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear")
_SAME_AXES = 13


@dataclass(frozen=True)
class Objective:
    """What is compared for one output.

    Attributes:
        output: The output.
        kind: What it says.
        teacher: The teacher's tensor that is looked at.
        student: The student's.
        axis: Of the classes; negative where it counts from the last.
    """

    output: str
    kind: Kind
    teacher: str
    student: str
    axis: int = -1


@dataclass(frozen=True)
class _Reading:
    """The tensor that says it, and how."""

    kind: Kind
    tensor: str
    axis: int = -1


def objectives(teacher: ir.Model, student: ir.Model) -> tuple[Objective, ...]:
    """An objective for each float output, by name; both models have equal output names."""
    theirs, own = _readings(teacher), _readings(student)
    found = []
    for name, reading in theirs.items():
        mine = own.get(name)
        if mine is None:
            continue
        if mine.kind == reading.kind and mine.axis == reading.axis:
            found.append(Objective(name, reading.kind, reading.tensor, mine.tensor, reading.axis))
        else:
            found.append(Objective(name, "numbers", name, name))
    return tuple(found)


def _readings(model: ir.Model) -> Mapping[str, _Reading]:
    return {
        value.name: _read(model, value)
        for value in model.graph.outputs
        if value.name and value.producer() is not None and _is_float(value)
    }


def _is_float(value: ir.Value) -> bool:
    dense = value.type is None or isinstance(value.type, ir.TensorType)
    return dense and (value.dtype is None or value.dtype.is_floating_point())


def _computed(node: ir.Node) -> str:
    """The name of what a node computes its output from, where another node makes it."""
    source = node.inputs[0]
    return "" if source is None or source.producer() is None else source.name or ""


def _read(model: ir.Model, value: ir.Value) -> _Reading:
    name = value.name or ""
    node = value.producer()
    while node is not None and is_op(node, *_PASSING) and node.inputs[0] is not None:
        value, node = node.inputs[0], node.inputs[0].producer()
    if node is None:
        return _Reading("numbers", name)
    if is_op(node, "Softmax", "LogSoftmax"):
        axis = _axis(model, node)
        if axis is not None and _computed(node):
            return _Reading("classes", _computed(node), axis)
    if is_op(node, "Sigmoid") and _computed(node):
        return _Reading("gates", _computed(node))
    if _is_linear(node):
        return _Reading("scores", name)
    if _is_normalized(node):
        return _Reading("embedding", name)
    return _Reading("numbers", name)


def _axis(model: ir.Model, node: ir.Node) -> int | None:
    """The classes' axis, from the last where it is the last; None where it is several axes."""
    old = opset(model) < _SAME_AXES
    found = attribute(node, "axis", 1 if old else -1)
    shape = node.outputs[0].shape or (node.inputs[0].shape if node.inputs[0] else None)
    axis = found if isinstance(found, int) else -1
    if shape is not None and axis % len(shape) == len(shape) - 1:
        return -1
    return None if old and axis != -1 else axis


def _is_linear(node: ir.Node) -> bool:
    """A Gemm or a MatMul with its bias, of at most three axes."""
    shape = node.outputs[0].shape
    if shape is not None and len(shape) not in (2, 3):
        return False
    if is_op(node, "Add"):
        moving = [v for v in node.inputs if v is not None and not is_constant(v)]
        made = moving[0].producer() if len(moving) == 1 else None
        return is_op(made, "MatMul", "Gemm")
    return is_op(node, "Gemm", "MatMul") and is_constant(node.inputs[1])


def _is_normalized(node: ir.Node) -> bool:
    if is_op(node, "LpNormalization", "LayerNormalization"):
        return True
    if not is_op(node, "Div") or node.inputs[1] is None:
        return False
    by = node.inputs[1].producer()
    while by is not None and is_op(by, "Max", "Clip", "Expand", "Add", "Sqrt", "Unsqueeze"):
        by = next((v.producer() for v in by.inputs if v is not None and v.producer()), None)
    return is_op(by, "ReduceL2", "ReduceSumSquare", "ReduceSum")
