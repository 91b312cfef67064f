"""What one output tensor holds side by side: boxes and scores, say, each with numbers of its own.

Detectors write one tensor of boxes in pixels and scores between 0 and 1. Against the boxes no error
of the scores is seen, so the error of an output is also looked for in each kind of its contents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnxopt.graph import attribute, is_constant, is_op, rank

_MOST_KINDS = 8
_DEPTH = 16
_SAME_SHAPE = """
    Identity Cast Sigmoid HardSigmoid Tanh Relu Clip Exp Log Softplus Softmax LogSoftmax Neg Abs
    Sqrt Round Floor Mul Add Sub Div Pow
""".split()  # noqa: SIM905 - readable
_LINEAR = {"Conv": 0, "ConvTranspose": 1, "Gemm": -1, "MatMul": -1}
"""The axis of the output channels in the weight."""

Box = tuple[tuple[int, int, int], ...]
"""Axis, start and stop, for each axis that is cut."""
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Kind:
    """Some of the numbers of an output.

    Attributes:
        output: Its name.
        boxes: Where they stand in it; none overlap.
    """

    output: str
    boxes: tuple[Box, ...]

    def of(self, value: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """The numbers in a value of the output, float64 [n]."""
        parts = [np.ravel(value[_slices(box, value.ndim)]) for box in self.boxes]
        return np.concatenate(parts).astype(np.float64)


def kinds_of(model: ir.Model) -> tuple[Kind, ...]:
    """The kinds of each output that is made by concatenation of several.

    A Concat is looked for behind the output, through ops that leave the last axis as it is or only
    permute. Its operands are of one kind where the same ops make them of as many channels: the
    levels of a pyramid are, boxes and scores are not. Up to 8 kinds an output are told apart; one
    that has more, or whose parts have unknown sizes, counts as a whole.
    """
    if not any(_concat_behind(value) for value in model.graph.outputs):
        return ()
    shaped = _with_shapes(model)
    found = []
    for value in shaped.graph.outputs:
        kinds = _kinds(value, _DEPTH)
        if 1 < len(kinds) <= _MOST_KINDS:
            found += [Kind(value.name or "", tuple(boxes)) for boxes in kinds.values()]
    return tuple(found)


def _concat_behind(value: ir.Value) -> bool:
    """Whether a walk through ops that keep the layout ends at a Concat."""
    seen: ir.Value | None = value
    for _ in range(_DEPTH):
        node = None if seen is None else seen.producer()
        if is_op(node, "Concat"):
            return True
        if node is None or not is_op(node, *_SAME_SHAPE, "Transpose", "Reshape"):
            return False
        seen = _variable(node)
    return False


def _with_shapes(model: ir.Model) -> ir.Model:
    outputs = (value for node in model.graph for value in node.outputs)
    if all(value.shape is not None for value in outputs):
        return model
    shaped = model.clone()
    ShapeInferencePass()(shaped)
    return shaped


def _kinds(value: ir.Value, depth: int) -> dict[Key, list[Box]]:
    """Where the numbers of each kind stand in a value."""
    node = value.producer()
    whole: dict[Key, list[Box]] = {_key(value): [()]}
    if node is None or not depth:
        return whole
    if is_op(node, "Concat"):
        return _of_concat(node, depth) or whole
    source = _variable(node)
    if source is None:
        return whole
    inner: Mapping[Key, list[Box]] = {}
    if is_op(node, "Transpose"):
        inner = _permuted(node, _kinds(source, depth - 1))
    elif is_op(node, "Reshape"):
        inner = _reshaped(source, value, _kinds(source, depth - 1))
    elif is_op(node, *_SAME_SHAPE) and rank(source) == rank(value):
        inner = _kinds(source, depth - 1)
    return {(node.op_type, *key): list(boxes) for key, boxes in inner.items()} or whole


def _of_concat(node: ir.Node, depth: int) -> dict[Key, list[Box]]:
    axes = rank(node.outputs[0])
    operands = [value for value in node.inputs if value is not None]
    if axes is None or any(rank(value) != axes for value in operands):
        return {}
    axis = int(str(attribute(node, "axis", 0))) % max(axes, 1)
    sizes = [None if v.shape is None else v.shape[axis] for v in operands]
    if not all(isinstance(size, int) for size in sizes):
        return {}
    ends = list(accumulate(int(str(size)) for size in sizes))
    found: dict[Key, list[Box]] = {}
    for operand, start, stop in zip(operands, [0, *ends], ends, strict=False):
        for key, boxes in _kinds(operand, depth - 1).items():
            moved = (_within(box, axis, start, stop) for box in boxes)
            found.setdefault(key, []).extend(moved)
    return found


def _within(box: Box, axis: int, start: int, stop: int) -> Box:
    """A box of an operand, in the concatenation."""
    cuts = {at: (low, high) for at, low, high in box}
    low, high = cuts.get(axis, (0, stop - start))
    cuts[axis] = (start + low, start + high)
    return tuple((at, *cuts[at]) for at in sorted(cuts))


def _permuted(node: ir.Node, kinds: Mapping[Key, list[Box]]) -> dict[Key, list[Box]]:
    axes = rank(node.outputs[0])
    if axes is None:
        return {}
    spelled = attribute(node, "perm", range(axes - 1, -1, -1))
    perm = list(spelled) if isinstance(spelled, Sequence) else []
    return {
        key: [tuple(sorted((perm.index(at), low, high) for at, low, high in box)) for box in boxes]
        for key, boxes in kinds.items()
    }


def _reshaped(
    source: ir.Value, value: ir.Value, kinds: Mapping[Key, list[Box]]
) -> dict[Key, list[Box]]:
    """Boxes that only cut the last axis stay where that axis does."""
    before, after = source.shape, value.shape
    if not before or not after or not isinstance(before[-1], int) or before[-1] != after[-1]:
        return {}
    last, place = len(before) - 1, len(after) - 1
    if any(at != last for boxes in kinds.values() for box in boxes for at, _, _ in box):
        return {}
    return {
        key: [tuple((place, low, high) for _, low, high in box) for box in boxes]
        for key, boxes in kinds.items()
    }


def _key(value: ir.Value) -> Key:
    """What makes a value: ops back to the next linear layer, and how many channels that has."""
    found: list[str | int] = []
    seen: ir.Value | None = value
    for _ in range(_DEPTH):
        node = None if seen is None else seen.producer()
        if node is None:
            break
        found.append(node.op_type)
        if is_op(node, *_LINEAR):
            weight = node.inputs[1]
            if weight is not None and weight.shape is not None and is_constant(weight):
                found.append(str(weight.shape[_LINEAR[node.op_type]]))
            break
        seen = _variable(node)
    return tuple(found)


def _variable(node: ir.Node) -> ir.Value | None:
    """The only thing a node computes with that is not constant."""
    found = [value for value in node.inputs if value is not None and not is_constant(value)]
    return found[0] if len(found) == 1 or is_op(node, "Reshape") else None


def _slices(box: Box, axes: int) -> tuple[slice, ...]:
    cuts = {axis: slice(low, high) for axis, low, high in box}
    return tuple(cuts.get(axis, slice(None)) for axis in range(axes))
