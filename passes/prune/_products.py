"""The linear layers of a pruned model, and which tensor of the original each should give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.comparing import kept, scaling
from onnxopt.graph import (
    Editor,
    attribute,
    constant,
    is_constant,
    is_op,
    label,
    only_consumer,
    rewrite_constant,
    use_count,
)
from onnxopt.transform import Note
from onnxopt_passes._bias import bias_adder
from onnxopt_passes._rows import spells_its_padding

Array = npt.NDArray[Any]
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_BIAS = 2
_MATRIX = 2


@dataclass(frozen=True, eq=False)
class Product:
    """A Conv, ConvTranspose, Gemm or MatMul with a constant weight of its own.

    Attributes:
        node: The node.
        adder: The Add that gives a MatMul its bias; None where there is none.
        target: The original's tensor it is to come close to.
        others: What is added to its output before that tensor; empty where the output is it.
        left: What is left of that tensor; nothing for all of it.
        scale: What those are to be divided by, float64 [channels] or [].
    """

    node: ir.Node
    adder: ir.Node | None
    target: str
    others: tuple[ir.Value, ...]
    left: tuple[kept.Kept, ...]
    scale: Array

    @property
    def source(self) -> ir.Value:
        """What it reads."""
        value = self.node.inputs[0]
        if value is None:
            raise ValueError(f"{label(self.node)} has no input")
        return value

    @property
    def weight(self) -> Array:
        """Its weight."""
        return np.asarray(constant(self.node.inputs[1]))

    @property
    def kernel(self) -> tuple[int, ...]:
        """The sizes of a convolution's kernel; empty for others."""
        return self.weight.shape[2:] if is_op(self.node, *_CONVOLUTIONS) else ()

    @property
    def group(self) -> int:
        """Number of groups; 1 where there are none."""
        is_grouped = is_op(self.node, *_CONVOLUTIONS)
        return int(str(attribute(self.node, "group", 1))) if is_grouped else 1

    @property
    def channel_axis(self) -> int:
        """The channels' axis of what it computes."""
        return 1 if is_op(self.node, *_CONVOLUTIONS) else -1

    def shaped(self, row: Array) -> Array:
        """Numbers [channels] or [], shaped to broadcast against what it computes."""
        return row.reshape(-1, *[1] * len(self.kernel)) if row.ndim else row

    def grouped(self) -> Array:
        """Its weight as float64 [groups, outputs of a group, inputs of a group]."""
        weight: Array = self.weight.astype(np.float64)
        group = self.group
        if self.node.op_type == "ConvTranspose":
            parts = weight.reshape(group, -1, *weight.shape[1:]).swapaxes(1, 2)
            return parts.reshape(group, weight.shape[1], -1)
        if self._has_outputs_last():
            weight = np.transpose(weight)
        return weight.reshape(group, weight.shape[0] // group, -1)

    def set_grouped(self, weight: Array) -> None:
        """Put another weight in its place."""
        old, group = self.weight, self.group
        if self.node.op_type == "ConvTranspose":
            shape = (group, old.shape[1], old.shape[0] // group, *old.shape[2:])
            made = weight.reshape(shape).swapaxes(1, 2).reshape(old.shape)
        elif self._has_outputs_last():
            made = np.transpose(weight.reshape(old.shape[1], old.shape[0]))
        else:
            made = weight.reshape(old.shape)
        self._put(self.node.inputs[1], made.astype(old.dtype))

    def bias(self) -> Array:
        """Its bias, float64 [groups, outputs of a group]; zeros where there is none."""
        found = constant(self._bias_value())
        count = self._outputs()
        row = np.zeros(1) if found is None else found.astype(np.float64).reshape(-1)
        return np.broadcast_to(row, (count,)).reshape(self.group, -1)

    def can_set_bias(self) -> bool:
        """Whether it has, or may be given, a bias of its own with one number a channel."""
        value = self._bias_value()
        if value is None:
            return self.node.op_type != "MatMul"
        found = constant(value)
        return use_count(value) == 1 and found is not None and found.size == self._outputs()

    def set_bias(self, bias: Array, editor: Editor) -> None:
        """Put another bias in its place, or give it one; for ``can_set_bias``."""
        value = self._bias_value()
        if value is not None:
            old = np.asarray(constant(value))
            self._put(value, bias.reshape(old.shape).astype(old.dtype))
            return
        row = bias.reshape(-1).astype(self.weight.dtype)
        made = editor.constant(self.node, f"{label(self.node)}/bias", row)
        self.node.resize_inputs(_BIAS + 1)
        self.node.replace_input_with(_BIAS, made)

    def _outputs(self) -> int:
        groups, outputs, _ = self.grouped().shape
        return int(groups * outputs)

    def _has_outputs_last(self) -> bool:
        return self.node.op_type == "MatMul" or (
            self.node.op_type == "Gemm" and not attribute(self.node, "transB", 0)
        )

    def _bias_value(self) -> ir.Value | None:
        if self.adder is not None:
            first = self.adder.inputs[0] is self.node.outputs[0]
            return self.adder.inputs[1 if first else 0]
        return self.node.inputs[_BIAS] if len(self.node.inputs) > _BIAS else None

    def _put(self, value: ir.Value | None, array: Array) -> None:
        if value is None:
            raise ValueError(f"{label(self.node)} has nothing to put numbers into")
        rewrite_constant(value, array)


def find_products(
    model: ir.Model, original: ir.Model, sizes: Mapping[str, int]
) -> Iterator[Product | Note]:
    """The layers of a pruned model in graph order, and notes on those that cannot be compared.

    Args:
        model: The pruned model.
        original: What it was made of.
        sizes: Elements of each tensor that the original computes, by name.
    """
    left, scales = kept.between(original, model), scaling.between(original, model)
    places = {node: at for at, node in enumerate(model.graph)}
    for node in model.graph:
        if not is_op(node, *PRODUCTS) or constant(node.inputs[1]) is None:
            continue
        if is_constant(node.inputs[0]):
            continue
        reason = _why_not(node)
        adder = bias_adder(node)
        if reason is not None:
            yield Note.refused(node, reason)
            continue
        output = (adder or node).outputs[0]
        target, others = _target(output, sizes, places, places[node])
        if target not in sizes:
            yield Note.refused(node, f"the original model does not make {target}")
            continue
        scale = scales.get(target)
        row = np.ones(()) if scale is None else scale.scale
        yield Product(node, adder, target, others, left.get(target, ()), row)


def _why_not(node: ir.Node) -> str | None:
    weight = node.inputs[1]
    array = constant(weight)
    if weight is None or array is None or array.dtype.kind != "f":
        return "its weight is not in floating point"
    if use_count(weight) > 1:
        return "its weight is shared with other nodes"
    if node.op_type == "MatMul" and array.ndim != _MATRIX:
        return f"its weight has {array.ndim} axes, not two"
    if node.op_type == "Gemm":
        factors = [float(str(attribute(node, name, 1.0))) for name in ("alpha", "beta")]
        if attribute(node, "transA", 0) or factors != [1.0, 1.0]:
            return "it does more than multiply and add a bias"
    if len(node.inputs) > _BIAS and node.inputs[_BIAS] is not None:
        bias = constant(node.inputs[_BIAS])
        if bias is None:
            return "its bias is computed"
    return None if spells_its_padding(node) else "its padding follows from its output's size"


def _target(
    output: ir.Value, sizes: Mapping[str, int], places: Mapping[ir.Node, int], place: int
) -> tuple[str, tuple[ir.Value, ...]]:
    """The last sum the output goes into whose other operands are known by then, and those."""
    value, others = output, list[ir.Value]()
    own = sizes.get(output.name or "")
    found = (value.name or "", tuple(others))
    while True:
        reader = only_consumer(value)
        if reader is None or not is_op(reader, "Add", "Sum"):
            return found
        rest = [operand for operand in reader.inputs if operand is not value]
        if not all(_is_known(operand, places, place) for operand in rest):
            return found
        others += [operand for operand in rest if operand is not None]
        value = reader.outputs[0]
        if own is not None and sizes.get(value.name or "") == own:
            found = (value.name or "", tuple(others))


def _is_known(value: ir.Value | None, places: Mapping[ir.Node, int], place: int) -> bool:
    """Whether a value with the same shape as a sum is computed before a place."""
    if value is None:
        return False
    maker = value.producer()
    return maker is not None and places.get(maker, place) < place
