"""How channels pass through nodes that look elements up by their places, or put them there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxopt.graph import attribute, constant
from onnxopt_passes.prune._coupling_dims import Dim, concat, freeze, leaf, normal, segment
from onnxopt_passes.prune._coupling_fixes import GatherFix
from onnxopt_passes.prune._coupling_walk import Axes, Rule, Unmapped, Walk, is_free

_MOST_PIECES = 4096


def gathering(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Rows of a table; constant places may be taken from an axis with channels."""
    axes = walk.axes(node, 0)
    axis = int(str(attribute(node, "axis", 0))) % len(axes)
    fixed = walk.is_fixed(node.inputs[0])
    walk.mark(node, 0, makes=[i for i in range(len(axes)) if i != axis])
    picked = constant(node.inputs[1])
    free = is_free(axes[axis]) and normal(axes[axis]).size is not None
    if picked is None or picked.ndim > 1 or not free or fixed or not picked.size:
        freeze(axes[axis], walk.why(node, "looks places up"))
        return [(*axes[:axis], *walk.axes(node, 1), *axes[axis + 1 :])]
    size = normal(axes[axis]).size or 1
    places = np.asarray(picked, np.int64) % size
    dims = _picked(walk, node, axes[axis], places)
    walk.fixes.append(GatherFix(node, places, axes[axis], dims[0] if dims else None))
    return [(*axes[:axis], *dims, *axes[axis + 1 :])]


def _picked(walk: Walk, node: ir.Node, dim: Dim, places: np.ndarray) -> list[Dim]:
    row = places.reshape(-1)
    breaks = np.flatnonzero(np.diff(row) != 1) + 1
    runs = np.split(row, breaks)
    if len(runs) > _MOST_PIECES:
        freeze(dim, walk.why(node, "puts too many places in another order"))
        return [leaf(len(row), walk.why(node, "puts too many places in another order"))]
    why = walk.why(node, "takes some of the places that go together")
    pieces = [segment(dim, int(run[0]), int(run[-1]) + 1, why) for run in runs]
    if len(row) == 1:
        freeze(pieces[0], walk.why(node, "takes a single place"))
    return [concat(pieces)] if places.ndim else []


def gathering_slices(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """GatherND: axes that indices count along stay, those behind them pass."""
    axes, places = walk.axes(node, 0), walk.axes(node, 1)
    shared = int(str(attribute(node, "batch_dims", 0)))
    depth = normal(places[-1]).size
    if depth is None or shared + depth > len(axes):
        raise Unmapped("takes indices of unknown depth")
    for dim in (*axes[: shared + depth], *places):
        freeze(dim, walk.why(node, "looks places up"))
    return [(*places[:-1], *axes[shared + depth :])]


def scattering_slices(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """ScatterND: axes that indices count along stay, those behind them are the updates' too."""
    axes, places, updates = (walk.axes(node, index) for index in range(3))
    depth = normal(places[-1]).size
    if depth is None or depth > len(axes) or len(updates) != len(places) - 1 + len(axes) - depth:
        raise Unmapped("takes indices of unknown depth")
    for dim in (*axes[:depth], *places, *updates[: len(places) - 1]):
        freeze(dim, walk.why(node, "puts places in"))
    for ours, theirs in zip(axes[depth:], updates[len(places) - 1 :], strict=True):
        walk.same(ours, theirs, node)
    return [axes]


def gathering_elements(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """GatherElements: the axis looked up along stays, along others places meet their like."""
    axes, places = walk.axes(node, 0), walk.axes(node, 1)
    axis = int(str(attribute(node, "axis", 0))) % len(axes)
    for place, (ours, theirs) in enumerate(zip(axes, places, strict=True)):
        size = normal(ours).size
        if place != axis and size is not None and size == normal(theirs).size:
            walk.same(ours, theirs, node)
            continue
        for dim in (ours, theirs):
            freeze(dim, walk.why(node, "looks places up"))
    return [places]


RULES: dict[str, Rule] = {
    "Gather": gathering,
    "GatherND": gathering_slices,
    "GatherElements": gathering_elements,
    "ScatterND": scattering_slices,
}
"""Op type → how channels pass through."""
