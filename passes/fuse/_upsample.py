"""Nodes that repeat each position a whole number of times along the spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx_ir as ir

from onnxopt.graph import attribute, constant, is_op

_RESIZE_WITH_MODES = 11
_FIRST_UPSAMPLE = 7


@dataclass(frozen=True)
class Upsample:
    """``y[n,c,i,j] = source[n,c,i // f, j // f]`` with a whole factor along each spatial axis."""

    node: ir.Node
    source: ir.Value
    factors: tuple[int, ...]

    @property
    def factor(self) -> int | None:
        """The factor where it is the same along every axis."""
        return self.factors[0] if len(set(self.factors)) == 1 else None


def read_upsample(node: ir.Node | None, version: int) -> Upsample | None:
    """Read a Resize or Upsample that repeats positions; None where it does anything else."""
    if node is None or not is_op(node, "Resize", "Upsample") or node.inputs[0] is None:
        return None
    if version < _FIRST_UPSAMPLE or attribute(node, "mode", "nearest") != "nearest":
        return None
    scales = read_scales(node, version)
    if scales is None or len(scales) < 3 or any(scale != 1.0 for scale in scales[:2]):
        return None
    factors = tuple(int(scale) for scale in scales[2:])
    if any(n < 1 or n != scale for n, scale in zip(factors, scales[2:], strict=True)):
        return None
    if is_op(node, "Resize") and version >= _RESIZE_WITH_MODES and not _repeats(node, factors):
        return None
    return Upsample(node, node.inputs[0], factors)


def read_scales(node: ir.Node, version: int) -> tuple[float, ...] | None:
    """The constant scales of a Resize or Upsample, one an axis; None where unknown."""
    modern = is_op(node, "Resize") and version >= _RESIZE_WITH_MODES
    if attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    if is_op(node, "Upsample") and "scales" in node.attributes:
        return tuple(cast("Sequence[float]", attribute(node, "scales", ())))
    index = 2 if modern else 1
    given = constant(node.inputs[index]) if len(node.inputs) > index else None
    axes = attribute(node, "axes", ())
    if given is not None and given.size:
        if given.ndim != 1:
            return None
        scales = tuple(float(scale) for scale in given.astype(np.float64))
        if not axes:
            return scales
        spatial = list(cast("Sequence[int]", axes)) == list(range(2, 2 + len(scales)))
        return (1.0, 1.0, *scales) if spatial else None
    return _from_sizes(node) if modern and not axes else None


def _from_sizes(node: ir.Node) -> tuple[float, ...] | None:
    sizes = constant(node.inputs[3]) if len(node.inputs) > 3 else None
    source = node.inputs[0]
    if sizes is None or source is None or source.shape is None or sizes.size != len(source.shape):
        return None
    known = [dim for dim in source.shape.dims if isinstance(dim, int) and dim > 0]
    if len(known) < sizes.size:
        return None
    return tuple(float(size) / dim for size, dim in zip(sizes.tolist(), known, strict=True))


def _repeats(node: ir.Node, factors: Sequence[int]) -> bool:
    """Whether the coordinates of a nearest Resize come down to whole division."""
    rounding = attribute(node, "nearest_mode", "round_prefer_floor")
    where = attribute(node, "coordinate_transformation_mode", "half_pixel")
    if attribute(node, "antialias", 0):
        return False
    if where == "asymmetric":
        halved = rounding == "round_prefer_floor" and max(factors) <= 2
        return rounding == "floor" or halved
    # (i + ½)/f - ½ never lies halfway between two positions
    return where in ("half_pixel", "pytorch_half_pixel") and rounding in (
        "round_prefer_floor",
        "round_prefer_ceil",
    )
