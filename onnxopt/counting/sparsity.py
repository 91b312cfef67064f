"""Zeros of a model's layers: how many, in which pattern, whole channels of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.counting.layers import LayerWeight, layer_weights
from onnxopt.graph import all_nodes, constant, label

_GROUPS = (4, 8, 16)


@dataclass(frozen=True)
class LayerSparsity:
    """The zeros of one weight.

    Attributes:
        weight: Its name.
        node: The first layer that reads it.
        op_type: That layer's operator.
        shape: Its sizes.
        zeros: How many of its elements are 0, or the code that means 0.
        pattern: ``N:M`` where of every M neighbours along the reduction axis at most N are not
            zero (M is 4, 8 or 16 and N at most half of it; the one that keeps least); empty where
            there is none.
        zero_outputs: Output channels that hold nothing but zeros.
        zero_inputs: Input channels that nothing but zeros reads.
    """

    weight: str
    node: str
    op_type: str
    shape: tuple[int, ...]
    zeros: int
    pattern: str
    zero_outputs: int
    zero_inputs: int

    @property
    def elements(self) -> int:
        """Number of weights."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def share(self) -> float:
        """Zeros over elements; 0 for a weight without any."""
        return self.zeros / self.elements if self.elements else 0.0


def sparsity(model: ir.Model) -> tuple[LayerSparsity, ...]:
    """The zeros of every layer's constant weight, shared ones once, in graph order."""
    return tuple(_of(weight) for weight in _distinct(model))


def _distinct(model: ir.Model) -> Iterator[LayerWeight]:
    seen: set[int] = set()
    for node in all_nodes(model):
        for weight in layer_weights(node):
            if id(weight.value) not in seen:
                seen.add(id(weight.value))
                yield weight


def _of(weight: LayerWeight) -> LayerSparsity:
    zero = zero_mask(weight)
    return LayerSparsity(
        weight=weight.value.name or "",
        node=label(weight.node),
        op_type=weight.node.op_type,
        shape=weight.shape,
        zeros=int(np.count_nonzero(zero)),
        pattern=found_pattern(zero, weight.reduction_axis),
        zero_outputs=_whole(zero, weight.output_axis),
        zero_inputs=_whole(zero, weight.reduction_axis) if weight.group == 1 else 0,
    )


def zero_mask(weight: LayerWeight) -> npt.NDArray[np.bool_]:
    """Where a weight is zero, bool of its shape."""
    array = np.asarray(weight.tensor.numpy())
    point = constant(weight.zero_point)
    if point is None or not point.any():
        return np.asarray(array == 0)
    if point.size == 1:
        return np.asarray(array == point.reshape(()))
    axis = next((a for a, size in enumerate(array.shape) if size == point.size), None)
    if axis is None:  # codes in blocks: no one code means 0
        return np.zeros(array.shape, np.bool_)
    shape = [point.size if a == axis else 1 for a in range(array.ndim)]
    return np.asarray(array == point.reshape(shape))


def found_pattern(zero: npt.NDArray[np.bool_], axis: int) -> str:
    """The N:M pattern of a mask along an axis, as ``LayerSparsity`` says."""
    best, share = "", 1.0
    for group in _GROUPS:
        size = zero.shape[axis]
        if not zero.size or size % group:
            continue
        rows = np.moveaxis(zero, axis, -1).reshape(-1, group)
        kept = int(np.count_nonzero(~rows, axis=1).max())
        if 0 < kept <= group // 2 and kept / group < share:
            best, share = f"{kept}:{group}", kept / group
    return best


def _whole(zero: npt.NDArray[Any], axis: int) -> int:
    """How many slices along an axis hold nothing but zeros."""
    others = tuple(a for a in range(zero.ndim) if a != axis)
    return int(np.count_nonzero(zero.all(axis=others))) if zero.size else 0
