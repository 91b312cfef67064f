"""Nodes that compute ``y = scale·x + shift`` with constants that vary along the channels only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import attribute, constant, is_constant, is_op
from onnxopt_passes.fuse._shape import Layout

Vector = npt.NDArray[np.float64]
"""One number (shape ``()``) or one a channel (shape ``(C,)``), in double precision."""

FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}
)
ACTIVATIONS = ("Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh")
"""What may stand between such a node and the convolution that reads it."""

OVERRIDABLE = "is a graph input that a caller may override; freeze-default-inputs fixes it"


@dataclass(frozen=True)
class Affine:
    """The map ``y = scale·x + shift``."""

    scale: Vector
    shift: Vector

    @classmethod
    def of(cls, scale: npt.ArrayLike = 1.0, shift: npt.ArrayLike = 0.0) -> Self:
        """Build from plain numbers or arrays."""
        return cls(np.asarray(scale, np.float64), np.asarray(shift, np.float64))

    def then(self, outer: Affine) -> Affine:
        """This map followed by another."""
        with np.errstate(all="ignore"):
            return Affine(self.scale * outer.scale, self.shift * outer.scale + outer.shift)

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())


@dataclass(frozen=True)
class Step:
    """A node read as an affine map of one of its inputs.

    Attributes:
        node: The node.
        source: Its ``x``.
        affine: What it does to ``x``.
        constant_rank: Number of axes of its constant operand (0 where it cannot broadcast).
    """

    node: ir.Node
    source: ir.Value
    affine: Affine
    constant_rank: int = 0

    def widens(self, source: Layout, output: Layout) -> str | None:
        """Why the output might have another shape than the source, or None where it has not."""
        if self.constant_rank and self.constant_rank == output.rank and source.rank != output.rank:
            return "its constant may add axes to the other operand, whose rank is unknown"
        vector = self.affine.scale.ndim or self.affine.shift.ndim
        if vector and self.constant_rank and source.channels != output.channels:
            return "its constant may widen the other operand, whose channel count is unknown"
        return None


def read_elementwise(node: ir.Node, output: Layout) -> Step | str | None:
    """Read an Add, Sub, Mul, Div or Neg whose output has this (known) layout.

    Returns the step; a reason where the node would be one except for something its user may
    change; or None where it is something else.
    """
    if is_op(node, "Neg") and node.inputs[0] is not None:
        return Step(node, node.inputs[0], Affine.of(-1.0))
    found = _operands(node)
    if found is None or isinstance(found, str):
        return found
    source, operand, swapped = found
    vector = _along_channels(operand, output)
    if isinstance(vector, str):
        return vector
    affine = _elementwise(node.op_type, vector, swapped)
    if not affine.is_finite:
        return f"{node.op_type} by {operand.name} is not finite"
    return Step(node, source, affine, _shape_of(operand)[0])


def _operands(node: ir.Node) -> tuple[ir.Value, ir.Value, bool] | str | None:
    """The variable and the constant operand, and whether the constant comes first."""
    if not is_op(node, "Add", "Sub", "Mul", "Div") or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    if left is None or right is None or is_constant(left) == is_constant(right):
        fixed = [v for v in (left, right) if v is not None and v.is_initializer()]
        return f"operand {fixed[0].name} {OVERRIDABLE}" if len(fixed) == 1 else None
    if not is_constant(left):
        return left, right, False
    return None if node.op_type == "Div" else (right, left, True)


def read_batch_norm(node: ir.Node, channels: int | None) -> Step | str | None:
    """Read an inference BatchNormalization; returns as ``read_elementwise`` does."""
    source, *parameters = node.inputs
    obstacle = _batch_norm_obstacle(node)
    if source is None or obstacle is not None:
        return obstacle
    arrays = [_float_array(value) for value in parameters]
    known = [array for array in arrays if array is not None]
    if len(known) < len(arrays):
        return _not_constant(parameters[[array is None for array in arrays].index(True)])
    if any(array.shape != (channels,) for array in known):
        return f"its parameters do not match {channels} channels"
    scale, bias, mean, variance = known
    epsilon = float(str(attribute(node, "epsilon", 1e-5)))
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + epsilon)
        affine = Affine.of(factor, bias - mean * factor)
    return Step(node, source, affine) if affine.is_finite else "its parameters are not finite"


def _batch_norm_obstacle(node: ir.Node) -> str | None:
    if len(node.inputs) != len(("x", "scale", "bias", "mean", "variance")):
        return "it lacks parameters"
    if any(attr.is_ref() for attr in node.attributes.values()):
        return "its attributes are parameters of the function"
    if attribute(node, "training_mode", 0) or any(out.name for out in node.outputs[1:]):
        return "it is in training mode"
    if not attribute(node, "spatial", 1):
        return "it normalizes each position by itself (spatial=0)"
    return None


def _elementwise(op_type: str, operand: Vector, swapped: bool) -> Affine:
    with np.errstate(all="ignore"):
        match op_type:
            case "Add":
                return Affine.of(shift=operand)
            case "Sub":
                return Affine.of(-1.0, operand) if swapped else Affine.of(shift=-operand)
            case "Mul":
                return Affine.of(operand)
        return Affine.of(1.0 / operand)


def _along_channels(operand: ir.Value, output: Layout) -> Vector | str:
    """The operand as a number or a vector along the channels of a tensor of the given layout."""
    rank = output.rank or 0
    own_rank, wide = _shape_of(operand)
    if own_rank > rank:
        return f"operand {operand.name} adds axes"
    if any(axis + rank - own_rank != output.axis for axis in wide):
        return f"operand {operand.name} varies along other axes than the channels"
    array = _float_array(operand)
    if array is None:
        return f"operand {operand.name} is no float constant"
    if array.size not in (1, output.channels):
        return f"operand {operand.name} changes the number of channels"
    return array.reshape(-1) if wide else array.reshape(())


def _shape_of(operand: ir.Value) -> tuple[int, tuple[int, ...]]:
    """A constant's rank and the axes along which its size is not 1, without reading it."""
    tensor = ir.convenience.get_const_tensor(operand)
    shape = () if tensor is None else tuple(int(str(dim)) for dim in tensor.shape)
    return len(shape), tuple(axis for axis, size in enumerate(shape) if size != 1)


def _float_array(value: ir.Value | None) -> Vector | None:
    array = constant(value)
    if value is None or array is None or ir.DataType.from_numpy(array.dtype) not in FLOATS:
        return None
    return array.astype(np.float64)


def _not_constant(value: ir.Value | None) -> str:
    if value is None:
        return "a parameter is missing"
    if value.is_graph_input() and value.is_initializer():
        return f"parameter {value.name} {OVERRIDABLE}"
    return f"parameter {value.name} is not constant"
