"""How channels pass through nodes that only put elements elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxopt.graph import attribute, constant, is_op, use_count
from onnxopt_passes.prune._coupling_dims import (
    Dim,
    concat,
    freeze,
    leaf,
    normal,
    product,
    segment,
)
from onnxopt_passes.prune._coupling_fixes import ShapeFix, SliceFix, SplitFix
from onnxopt_passes.prune._coupling_pointwise import axes_option, freeze_positions
from onnxopt_passes.prune._coupling_walk import Axes, Entry, Rule, Unmapped, Walk, is_free, is_one

_SPLIT_BY_INPUT = 13
_SLICE_BY_INPUT = 10
_SECOND = 2


def _sized(walk: Walk, node: ir.Node, entry: Entry, axis: int) -> Dim:
    """The axis of a result whose size is a number of a shape."""
    if isinstance(entry, Dim):
        return entry
    if entry is not None and entry > 0:
        return Dim(entry) if entry > 1 else leaf(1)
    size = walk.known_size(node.outputs[0], axis) or _declared(node.outputs[0], axis)
    return leaf(1) if size == 1 else Dim(size)


def _declared(value: ir.Value, axis: int) -> int | None:
    """What the model says of a size that does not follow from its inputs' sizes."""
    size = value.shape[axis] if value.shape is not None and axis < len(value.shape) else None
    return size if isinstance(size, int) and size > 0 else None


def _settle(made: Sequence[Dim]) -> None:
    """Freeze what is still of unknown size."""
    for dim in made:
        if normal(dim).size is None and normal(dim).kind == "leaf":
            freeze(dim, "their number is not known")


def shape_fix(
    walk: Walk, node: ir.Node, index: int, entries: Sequence[Entry], dims: Sequence[Dim]
) -> None:
    """Let numbers of a shape follow their axes."""
    numbers = [entry if isinstance(entry, int) else None for entry in entries]
    value = node.inputs[index]
    joiner = value.producer() if value is not None else None
    parts: list[int] = []
    if value is not None and is_op(joiner, "Concat") and use_count(value) == 1:
        rows = [walk.entries(part) for part in joiner.inputs] if joiner is not None else []
        parts = [len(row) for row in rows if row is not None]
        parts = parts if sum(parts) == len(numbers) and len(parts) == len(rows) else []
    walk.fixes.append(ShapeFix(node, index, numbers, dims, parts))


def reshape(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Rows of axes of the same product; axes are split and joined as their sizes tell."""
    axes = walk.axes(node, 0)
    if "shape" in node.attributes:
        raise Unmapped("has its shape as an attribute")
    entries = walk.entries(node.inputs[1])
    if entries is None:
        raise Unmapped("takes a shape that is computed")
    copies = not attribute(node, "allowzero", 0)
    made = []
    for axis, entry in enumerate(entries):
        if entry == 0 and copies and axis < len(axes):
            made.append(axes[axis])
        else:
            made.append(_sized(walk, node, entry, axis))
        if entry is None:
            freeze(made[-1], walk.why(node, "takes a shape that is computed"))
    walk.same(product(axes), product(made), node)
    _settle(made)
    shape_fix(walk, node, 1, entries, made)
    return [tuple(made)]


def flatten(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Two rows of axes."""
    axes = walk.axes(node, 0)
    axis = int(str(attribute(node, "axis", 1)))
    axis = axis + len(axes) if axis < 0 else axis
    parts = axes[:axis], axes[axis:]
    return [tuple(product(part) if part else leaf(1) for part in parts)]


def transpose(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """The same axes in another order."""
    axes = walk.axes(node, 0)
    order = attribute(node, "perm", tuple(reversed(range(len(axes)))))
    return [tuple(axes[int(i)] for i in order)] if isinstance(order, Sequence) else [axes]


def squeeze(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Axes of one place go."""
    axes = walk.axes(node, 0)
    chosen = axes_option(walk, node)
    if chosen is None:
        raise Unmapped("takes axes that are computed")
    gone = {axis % len(axes) for axis in chosen}
    if not chosen:
        if any(normal(dim).size is None for dim in axes):
            raise Unmapped("takes whatever axes have one place")
        gone = {i for i, dim in enumerate(axes) if is_one(dim)}
    return [tuple(dim for i, dim in enumerate(axes) if i not in gone)]


def unsqueeze(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Axes of one place come."""
    axes = list(walk.axes(node, 0))
    chosen = axes_option(walk, node)
    if not chosen:
        raise Unmapped("takes axes that are computed")
    rank = len(axes) + len(chosen)
    for axis in sorted(one % rank for one in chosen):
        axes.insert(axis, leaf(1))
    return [tuple(axes)]


def concatenation(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """One after the other along an axis; the other axes are the same."""
    rows = [walk.axes(node, index) for index in range(len(node.inputs))]
    rank = len(rows[0])
    axis = int(str(attribute(node, "axis", 1))) % rank
    made = []
    for place in range(rank):
        dims = [row[place] for row in rows]
        if place == axis:
            made.append(concat(dims))
            continue
        for other in dims[1:]:
            walk.same(dims[0], other, node)
        made.append(dims[0])
    return [tuple(made)]


def split(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Pieces of an axis."""
    axes = walk.axes(node, 0)
    axis = int(str(attribute(node, "axis", 0))) % len(axes)
    size, count = normal(axes[axis]).size, len(node.outputs)
    given = node.inputs[1] if len(node.inputs) > 1 else None
    listed = attribute(node, "split", ())
    sizes = [int(one) for one in listed] if isinstance(listed, Sequence) and listed else None
    if given is not None:
        sizes = walk.ints(given)
    if size is None or (given is not None and sizes is None):
        raise Unmapped("has parts of unknown size")
    each = -(-size // count)
    sizes = sizes or [min(each, size - i * each) for i in range(count)]
    if any(one <= 0 for one in sizes) or sum(sizes) != size:
        raise Unmapped("has parts that do not add up")
    ends = np.cumsum(sizes).tolist()
    why = walk.why(node, "cuts through places that go together")
    dims = [_part(walk, axes[axis], end - n, end, why) for n, end in zip(sizes, ends, strict=True)]
    walk.fixes.append(SplitFix(node, dims, walk.version >= _SPLIT_BY_INPUT))
    return [(*axes[:axis], dim, *axes[axis + 1 :]) for dim in dims]


def _part(walk: Walk, dim: Dim, start: int, stop: int, why: str) -> Dim:
    """A piece of an axis; a piece of one place stays, for it may be dropped or repeated."""
    part = segment(dim, start, stop, why)
    walk.parts.append(part)
    if stop - start == 1:
        freeze(part, why)
    return part


def _slice_option(walk: Walk, node: ir.Node, index: int, name: str) -> Sequence[Entry] | None:
    if walk.version < _SLICE_BY_INPUT:
        given = attribute(node, name, ())
        return [int(one) for one in given] if isinstance(given, Sequence) else []
    value = node.inputs[index] if index < len(node.inputs) else None
    return [] if value is None else walk.entries(value)


def slicing(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """A piece of each axis; along axes with channels, bounds are constant and the step is 1."""
    axes = list(walk.axes(node, 0))
    starts = _slice_option(walk, node, 1, "starts")
    stops = _slice_option(walk, node, 2, "ends")
    chosen = _slice_option(walk, node, 3, "axes")
    steps = _slice_option(walk, node, 4, "steps")
    if chosen is None or (chosen == [] and starts is None):
        raise Unmapped("takes axes that are computed")
    chosen = chosen or list(range(len(starts or ())))
    bounds: dict[int, tuple[Dim, int, int]] = {}
    for place, entry in enumerate(chosen):
        if not isinstance(entry, int):
            raise Unmapped("takes axes that are computed")
        axis = entry % len(axes)
        option = [row[place] if row else None for row in (starts, stops)]
        step = steps[place] if steps else (1 if steps is not None else None)
        found = _bounds(axes[axis], option[0], option[1]) if step == 1 else None
        if found is None:
            for dim in (axes[axis], *(one for one in option if isinstance(one, Dim))):
                freeze(dim, walk.why(node, "takes places that are computed or not in a row"))
            axes[axis] = walk.position(node.outputs[0], axis)
            continue
        start, stop = found
        if (start, stop) == (0, normal(axes[axis]).size):
            continue
        bounds[place] = axes[axis], start, stop
        why = walk.why(node, "cuts through places that go together")
        axes[axis] = _part(walk, axes[axis], start, stop, why)
    walk.fixes.append(SliceFix(node, bounds))
    return [tuple(axes)]


def _bounds(dim: Dim, start: Entry, stop: Entry) -> tuple[int, int] | None:
    """First place and the one after the last, both known, with something in between."""
    size = normal(dim).size
    if isinstance(stop, Dim) and normal(stop) is normal(dim):
        stop = size
    if size is None or not isinstance(start, int) or not isinstance(stop, int):
        return None
    first, last, _ = slice(start, stop).indices(size)
    return (first, last) if first < last else None


def padding(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Padded places stay."""
    axes = list(walk.axes(node, 0))
    given = attribute(node, "pads", attribute(node, "paddings", ()))
    pads = [int(one) for one in given] if isinstance(given, Sequence) and given else None
    entries: Sequence[Entry] | None = pads
    chosen: Sequence[int] | None = range(len(axes))
    if pads is None:
        entries = walk.entries(node.inputs[1])
        if len(node.inputs) > 3 and node.inputs[3] is not None:
            chosen = walk.ints(node.inputs[3])
    if entries is None or chosen is None:
        raise Unmapped("pads by what is computed")
    half = len(entries) // 2
    plain = attribute(node, "mode", "constant") == "constant"
    for place, axis in enumerate(chosen):
        before, after = entries[place], entries[place + half]
        if (before, after) == (0, 0):
            continue
        dim = axes[axis]
        if not plain or not all(isinstance(n, int) and n >= 0 for n in (before, after)):
            freeze(dim, walk.why(node, "pads by what is computed or copied"))
        if normal(dim).size is None or not is_free(dim):
            axes[axis] = walk.position(node.outputs[0], axis)
            continue
        why = walk.why(node, "makes them")
        ends = [leaf(n, why) if n else None for n in (before, after)]  # type: ignore[arg-type]
        axes[axis] = concat(one for one in (ends[0], dim, ends[1]) if one is not None)
    return [tuple(axes)]


def tiling(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """An axis repeated is one after itself."""
    axes = list(walk.axes(node, 0))
    counts = walk.ints(node.inputs[1])
    for axis, dim in enumerate(axes):
        count = counts[axis] if counts else None
        if count == 1:
            continue
        if count is None or not is_free(dim):
            freeze(dim, walk.why(node, "repeats them an unknown number of times"))
            axes[axis] = walk.position(node.outputs[0], axis)
        else:
            axes[axis] = concat([dim] * count)
    return [tuple(axes)]


def expansion(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Axes of one place are repeated to the size asked for."""
    axes = walk.axes(node, 0)
    entries = walk.entries(node.inputs[1])
    if entries is None:
        raise Unmapped("takes a shape that is computed")
    rank = max(len(axes), len(entries))
    own = [leaf(1)] * (rank - len(axes)) + list(axes)
    asked: list[Entry] = [*([1] * (rank - len(entries))), *entries]
    made = []
    for axis, (dim, entry) in enumerate(zip(own, asked, strict=True)):
        if is_one(dim):
            made.append(_sized(walk, node, entry, axis))
            continue
        if entry is None:
            freeze(dim, walk.why(node, "takes a shape that is computed"))
        elif isinstance(entry, Dim):
            walk.same(dim, entry, node)
        made.append(dim)
    _settle(made)
    shape_fix(walk, node, 1, entries, made[rank - len(entries) :])
    return [tuple(made)]


def filling(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """ConstantOfShape: places of their own, as many as asked for."""
    entries = walk.entries(node.inputs[0])
    if entries is None:
        raise Unmapped("takes a shape that is computed")
    made = [_sized(walk, node, entry, axis) for axis, entry in enumerate(entries)]
    _settle(made)
    shape_fix(walk, node, 0, entries, made)
    return [tuple(made)]


def resizing(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Axes that keep their size keep their places; others are positions."""
    axes = walk.axes(node, 0)
    chosen = attribute(node, "axes", tuple(range(len(axes))))
    chosen = [int(axis) % len(axes) for axis in chosen] if isinstance(chosen, Sequence) else []
    given = node.inputs[3] if len(node.inputs) > 3 else None
    sizes = walk.entries(given)
    scales = _scales(node)
    made, dims = list(axes), []
    for place, axis in enumerate(chosen):
        entry = sizes[place] if sizes else None
        dim = axes[axis]
        same = isinstance(entry, Dim) and normal(entry) is normal(dim)
        same = same or (isinstance(entry, int) and entry == normal(dim).size)
        same = same or (given is None and scales is not None and scales[place] == 1)
        if not same:
            freeze(dim, walk.why(node, "resizes them"))
            made[axis] = walk.position(node.outputs[0], axis)
        dims.append(made[axis])
    if sizes:
        shape_fix(walk, node, 3, sizes, dims)
    return [tuple(made)]


def _scales(node: ir.Node) -> list[float] | None:
    listed = attribute(node, "scales", ())
    if isinstance(listed, Sequence) and listed:
        return [float(one) for one in listed]
    index = 1 if node.op_type == "Upsample" or len(node.inputs) == _SECOND else 2
    found = constant(node.inputs[index]) if index < len(node.inputs) else None
    return None if found is None or not found.size else [float(one) for one in np.ravel(found)]


def depth_to_space(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Channels of a block go together."""
    axes = walk.axes(node, 0)
    freeze_positions(axes)
    block = int(str(attribute(node, "blocksize", 1)))
    size = normal(axes[1]).size
    if size is None:
        raise Unmapped("has an unknown number of channels")
    inner = Dim(size // block**2) if size > block**2 else leaf(1)
    blocks = [leaf(block, walk.why(node, "makes positions of them")) for _ in range(_SECOND)]
    last = attribute(node, "mode", "DCR") == "CRD"
    walk.same(axes[1], product([inner, *blocks] if last else [*blocks, inner]), node)
    rest = [walk.position(node.outputs[0], axis) for axis in range(2, len(axes))]
    return [(axes[0], inner, *rest)]


def space_to_depth(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """A channel becomes one for each position of a block."""
    axes = walk.axes(node, 0)
    freeze_positions(axes)
    block = int(str(attribute(node, "blocksize", 1)))
    blocks = [leaf(block, "they are positions") for _ in range(_SECOND)]
    rest = [walk.position(node.outputs[0], axis) for axis in range(2, len(axes))]
    return [(axes[0], product([*blocks, axes[1]]), *rest)]


def quantizing(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """QuantizeLinear and its inverse: a scale and a zero point for all, or for each channel."""
    axes = walk.axes(node, 0)
    if attribute(node, "block_size", 0):
        raise Unmapped("scales blocks")
    for index in range(1, len(node.inputs)):
        row = walk.maybe(node, index)
        if row and not is_one(row[0]):
            walk.same(row[0], axes[int(str(attribute(node, "axis", 1))) % len(axes)], node)
    return [axes]


def branching(walk: Walk, node: ir.Node) -> Sequence[Axes | None]:
    """Both branches of an If make the same axes."""
    branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    for branch in branches:
        walk.graph(branch)
    made: list[Axes | None] = []
    for index in range(len(node.outputs)):
        rows = [walk.axes_of.get(branch.outputs[index]) for branch in branches]
        if rows[0] is None or rows[1] is None or len(rows[0]) != len(rows[1]):
            for row in rows:
                for dim in row or ():
                    freeze(dim, walk.why(node, "makes something else in its other branch"))
            made.append(None)
            continue
        for ours, theirs in zip(rows[0], rows[1], strict=True):
            walk.same(ours, theirs, node)
        made.append(rows[0])
    return made


def measuring(walk: Walk, node: ir.Node) -> Sequence[Axes | None]:
    """Shape and Size: whoever reads the numbers minds them."""
    return [None]


RULES: dict[str, Rule] = {
    "Shape": measuring,
    "Size": measuring,
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Concat": concatenation,
    "Split": split,
    "Slice": slicing,
    "Pad": padding,
    "Tile": tiling,
    "Expand": expansion,
    "ConstantOfShape": filling,
    "Resize": resizing,
    "Upsample": resizing,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "QuantizeLinear": quantizing,
    "DequantizeLinear": quantizing,
    "If": branching,
}
"""Op type → how channels pass through."""
