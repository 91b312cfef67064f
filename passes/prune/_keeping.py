"""Takes units out of a model: slices constants, adapts what says how many channels there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.comparing import kept, scaling
from onnxopt.errors import UsageError
from onnxopt.graph import Editor, constant, drop_if_unread, label, rewrite_constant, use_count
from onnxopt_passes.prune._coupling_dims import Dim, normal
from onnxopt_passes.prune._coupling_groups import Analysis
from onnxopt_passes.prune._coupling_places import Mask, Remains
from onnxopt_passes.prune._coupling_walk import Use


def keep_units(model: ir.Model, chosen: Mapping[str, npt.NDArray[np.int64]]) -> None:
    """Keep the given units of the given groups, and all of the groups not given.

    Edits in place: all members, numbers of groups, heads and hidden units, shapes, parts and
    bounds of Reshape, Split and Slice, and declared shapes. Which channels are left of each tensor
    is written into the graph's metadata.

    Args:
        model: As ``couplings`` has seen it.
        chosen: Group name → the units that stay, at least one.

    Raises:
        UsageError: There is no such group, or no such unit.
    """
    analysis = Analysis(model)
    masks = _masks(analysis, chosen)
    if not masks:
        return
    remains = Remains(masks, analysis.atlas)
    editor = Editor(model)
    _slice_constants(analysis.walk.uses, remains, editor)
    for fix in analysis.walk.fixes:
        fix.apply(remains, editor)
    left = _left(analysis, remains)
    _declare(analysis, remains)
    kept.record(model, left)
    _slice_scales(model, analysis, left)


def _masks(analysis: Analysis, chosen: Mapping[str, npt.NDArray[np.int64]]) -> dict[Dim, Mask]:
    known = {group.name: (group, leaves) for group, leaves in analysis.groups}
    masks: dict[Dim, Mask] = {}
    for name, units in chosen.items():
        if name not in known:
            raise UsageError(f"there is no group of channels {name}", wanted="one of couplings()")
        group, leaves = known[name]
        mask = np.zeros(group.units, np.bool_)
        if not len(units) or min(units) < 0 or max(units) >= group.units:
            raise UsageError(f"{name} has units 0 to {group.units - 1}", wanted="some of these")
        mask[units] = True
        if mask.all():
            continue
        start = 0
        for leaf in leaves:
            size = leaf.size or 0
            masks[leaf] = mask[start : start + size]
            start += size
    return masks


def _slice_constants(uses: Iterable[Use], remains: Remains, editor: Editor) -> None:
    by_value: dict[ir.Value, list[Use]] = {}
    for use in uses:
        by_value.setdefault(use.value, []).append(use)
    for value, rows in by_value.items():
        if any(remains.touches(dim) for use in rows for dim in use.axes):
            _slice_constant(value, rows, remains, editor)


def _slice_constant(value: ir.Value, uses: list[Use], remains: Remains, editor: Editor) -> None:
    """In place where all readers want the same; else a copy for each that wants another."""
    array = constant(value)
    if array is None:
        return
    wanted = [[remains.indices(dim) for dim in use.axes] for use in uses]
    keys = [tuple(row.tobytes() for row in rows) for rows in wanted]
    readers = sum(len(use.readers) for use in uses)
    alone = readers == use_count(value) and not value.is_graph_output()
    if len(set(keys)) == 1 and alone:
        rewrite_constant(value, _taken(array, wanted[0]))
        return
    made: dict[tuple[bytes, ...], ir.Value] = {}
    for use, rows, key in zip(uses, wanted, keys, strict=True):
        if all(len(row) == size for row, size in zip(rows, array.shape, strict=True)):
            continue
        for node, index in use.readers:
            if key not in made:
                name = f"{value.name}/{label(node)}"
                made[key] = editor.constant(node, name, _taken(array, rows))
            node.replace_input_with(index, made[key])
    drop_if_unread(value)


def _taken(
    array: npt.NDArray[np.generic], rows: Iterable[npt.NDArray[np.int64]]
) -> npt.NDArray[np.generic]:
    for axis, indices in enumerate(rows):
        if len(indices) < array.shape[axis]:
            array = np.take(array, indices, axis=axis)
    return array


def _left(analysis: Analysis, remains: Remains) -> dict[str, tuple[kept.Kept, ...]]:
    """What is left of each tensor that has lost something."""
    found = {}
    for value, axes in analysis.walk.axes_of.items():
        if not value.name:
            continue
        rows = [
            kept.Kept(axis, size, remains.indices(dim))
            for axis, dim in enumerate(axes)
            if remains.touches(dim) and (size := normal(dim).size) is not None
        ]
        if rows:
            found[value.name] = tuple(rows)
    return found


def _declare(analysis: Analysis, remains: Remains) -> None:
    """Write new sizes into declared shapes."""
    for value, axes in analysis.walk.axes_of.items():
        shape = value.shape
        if shape is None or len(shape) != len(axes) or not any(map(remains.touches, axes)):
            continue
        sizes = [
            remains.size(dim) if isinstance(old, int) and remains.touches(dim) else old
            for old, dim in zip(shape, axes, strict=True)
        ]
        value.shape = ir.Shape(sizes)


def _slice_scales(
    model: ir.Model, analysis: Analysis, left: Mapping[str, tuple[kept.Kept, ...]]
) -> None:
    """Scales that are written down for channels have to be as many as these."""
    scales = scaling.read(model)
    ranks = {value.name: len(axes) for value, axes in analysis.walk.axes_of.items()}
    changed = {}
    for name in scales.keys() & left.keys():
        scale = scales[name]
        for row in left[name]:
            if row.axis == scale.axis % ranks[name]:
                changed[name] = scaling.ChannelScale(scale.axis, scale.scale[row.indices])
    if changed:
        scaling.write(model, scales | changed)
