"""Scales of quantized tensors: which can be learned, and which follow from others.

ONNX Runtime takes the scale of an int32 bias to be the product of the scales of its layer's input
and weight, whatever the file says. So that one follows the other two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from onnxopt.graph import is_op, use_count

if TYPE_CHECKING:
    from torch import Tensor

_CODED = ("QuantizeLinear", "DequantizeLinear")
_BIASED = ("Conv", "ConvTranspose", "Gemm")
_BIAS = 2


@dataclass(frozen=True)
class Follower:
    """The scale of a bias and the two it is the product of, by name."""

    bias: str
    input: str
    weight: str

    def update(self, scales: Mapping[str, Tensor]) -> None:
        """Set the bias' scale in place."""
        target = scales[self.bias]
        product = scales[self.input].detach() * scales[self.weight].detach()
        target.data.copy_(product.expand_as(target) if product.dim() == 0 else product)


@dataclass(frozen=True)
class Scales:
    """What becomes of the scales of a model.

    Attributes:
        learned: Names of those that can be trained.
        followers: Those that are set after each step.
    """

    learned: tuple[str, ...]
    followers: tuple[Follower, ...]

    @property
    def names(self) -> set[str]:
        """Of all."""
        return {*self.learned, *(follower.bias for follower in self.followers)}


def find_scales(model: ir.Model) -> Scales:
    """Look through a model's main graph."""
    names = {
        name
        for node in model.graph
        if is_op(node, *_CODED) and (name := _scale(node)) and not _is_bias(node)
    }
    followers: list[Follower] = []
    for node in model.graph:
        if not is_op(node, *_BIASED) or len(node.inputs) <= _BIAS or node.inputs[_BIAS] is None:
            continue
        made = [None if v is None else v.producer() for v in node.inputs[: _BIAS + 1]]
        bias = made[_BIAS]
        if bias is None or not is_op(bias, "DequantizeLinear"):
            continue
        first, second, own = (_scale(one) for one in made)
        if first and second and own and use_count(_scale_value(bias)) == 1:
            followers.append(Follower(own, first, second))
        else:
            names -= {first or "", second or ""}
    return Scales(tuple(sorted(names)), tuple(followers))


def _is_bias(node: ir.Node) -> bool:
    codes = node.inputs[0]
    return codes is not None and codes.dtype == ir.DataType.INT32


def _scale(node: ir.Node | None) -> str | None:
    if node is None or not is_op(node, *_CODED):
        return None
    value = _scale_value(node)
    return value.name if value.is_initializer() else None


def _scale_value(node: ir.Node) -> ir.Value:
    value = node.inputs[1]
    if value is None:
        raise ValueError(f"{node.name} has no scale")
    return value
