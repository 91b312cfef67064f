"""How much each unit of a group of coupled channels matters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import attribute, constant, is_op
from onnxopt.transform import Context
from onnxopt_passes.prune._coupling import Group, Member
from onnxopt_passes.prune._elimination import Reading, eliminate
from onnxopt_passes.prune._inputs import Inputs, collect_inputs
from onnxopt_passes.prune._taylor import score_by_taylor

Array = npt.NDArray[Any]
Importance = Literal["l1", "l2", "batch-norm", "activation", "taylor", "median", "reconstruction"]
Scores = Mapping[str, Array]
"""A score a unit, float64 [units], by the group's name; the least important is the least."""

_READERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_SCALE = 1
_LEAST_DAMPING = 1e-3


def score_units(
    model: ir.Model, groups: Sequence[Group], importance: Importance, context: Context
) -> dict[str, Array]:
    """The importance of every unit.

    ``l1`` and ``l2``: norms of the weights that make a unit (Li et al., 2017).
    ``batch-norm``: the scale of its normalization, or ``l2`` where there is none (Liu et al.,
    2017). ``median``: distance from the other units' weights (He et al., 2019). ``activation``: the
    weights that read it times its mean magnitude (Sun et al., 2023). ``reconstruction``: what is
    lost without it of what its readers compute once all others make up for it as well as they can,
    with the units that are less important gone already (see ``Reading``). ``taylor``: see
    ``score_by_taylor``. All but the last two have mean 1 in each group; these two can be compared
    between groups as they are.

    Args:
        model: The model; it is not changed.
        groups: Its groups.
        importance: What counts.
        context: For data, where it takes any.
    """
    if importance == "taylor":
        return score_by_taylor(model, groups, context)
    if importance == "reconstruction":
        return _by_reconstruction(model, groups, context)
    if importance == "activation":
        inputs = _inputs_of(model, groups, context)
        return {group.name: _normal(_by_activation(group, inputs)) for group in groups}
    scorers: dict[str, Callable[[Group], Array]] = {
        "l1": lambda group: _by_norm(group, 1),
        "l2": lambda group: _by_norm(group, 2),
        "batch-norm": _by_batch_norm,
        "median": _by_median,
    }
    return {group.name: _normal(scorers[importance](group)) for group in groups}


def _rows(member: Member) -> Array:
    """The numbers of each unit, float64 [units, n]."""
    array = np.asarray(constant(member.value), np.float64)
    first = np.moveaxis(array, member.axis, 0).reshape(array.shape[member.axis], -1)
    found: Array = first[member.places].reshape(len(member.places), -1)
    return found


def _weights(group: Group, *roles: str) -> list[Array]:
    """The units' numbers in some roles, one array a constant."""
    return [
        _rows(member)
        for member in group.members
        if member.role in roles and (array := constant(member.value)) is not None and array.size
    ]


def _by_norm(group: Group, order: int) -> Array:
    """Root mean square over constants of each unit's norm, each of mean 1."""
    rows = [_normal(np.linalg.norm(one, order, axis=1)) for one in _weights(group, "makes")]
    found: Array = np.sqrt(np.mean(np.square(rows), axis=0)) if rows else np.ones(group.units)
    return found


def _by_batch_norm(group: Group) -> Array:
    scales = [
        np.abs(_rows(member)).sum(axis=1)
        for member in group.members
        if is_op(member.node, "BatchNormalization", "LayerNormalization", "InstanceNormalization")
        and member.node.inputs[_SCALE] is member.value
    ]
    if not scales:
        return _by_norm(group, 2)
    found: Array = np.sum([_normal(scale) for scale in scales], axis=0)
    return found


def _by_median(group: Group) -> Array:
    rows = _weights(group, "makes") or _weights(group, "reads")
    if not rows:
        return np.ones(group.units)
    points = np.concatenate([one / max(float(one.std()), 1e-30) for one in rows], axis=1)
    squares = (points**2).sum(axis=1)
    distances = squares[:, np.newaxis] + squares - 2 * points @ points.T
    found: Array = np.sqrt(np.maximum(distances, 0.0)).sum(axis=1)
    return found


def _by_activation(group: Group, inputs: Mapping[str, Inputs]) -> Array:
    found = np.zeros(group.units)
    for member in group.members:
        known = _known(member, inputs)
        if known is None:
            continue
        rows = np.abs(_rows(member)).reshape(*member.places.shape, -1).sum(axis=2)
        one = (rows * known.magnitudes[member.places]).sum(axis=1)
        found += one / max(float(one.mean()), 1e-30)
    return found if found.any() else _by_norm(group, 2)


def _by_reconstruction(
    model: ir.Model, groups: Sequence[Group], context: Context
) -> dict[str, Array]:
    inputs = _inputs_of(model, groups, context)
    found = {}
    for number, group in enumerate(groups):
        context.progress("eliminate channels", number, len(groups))
        readings = [
            Reading(known.covariance, _gram(member), member.places, _damping(known))
            for member in group.members
            if (known := _known(member, inputs)) is not None
        ]
        if readings:
            order, lost = eliminate(readings, group.units)
            scores = np.empty(group.units)
            scores[order] = lost
            found[group.name] = scores
        else:
            norms = _by_norm(group, 2)
            found[group.name] = norms / max(float(norms.sum()), 1e-30)
    return found


def _damping(inputs: Inputs) -> float:
    """More where there are few positions to tell by which channels go together."""
    return _LEAST_DAMPING + len(inputs.magnitudes) / max(inputs.positions, 1)


def _gram(member: Member) -> Array:
    """``V V^T`` of a reader's weight, its inputs first."""
    array = np.asarray(constant(member.value), np.float64)
    first = np.moveaxis(array, member.axis, 0).reshape(array.shape[member.axis], -1)
    found: Array = first @ first.T
    return found


def _known(member: Member, inputs: Mapping[str, Inputs]) -> Inputs | None:
    """What a plain reader reads; None for all else."""
    if member.role != "reads" or not _is_plain_reader(member):
        return None
    source = member.node.inputs[0]
    known = inputs.get(source.name or "") if source is not None else None
    size = np.asarray(constant(member.value)).shape[member.axis]
    return known if known is not None and len(known.magnitudes) == size else None


def _is_plain_reader(member: Member) -> bool:
    node = member.node
    return (
        is_op(node, *_READERS)
        and node.inputs[1] is member.value
        and attribute(node, "group", 1) == 1
        and not attribute(node, "transA", 0)
    )


def _inputs_of(model: ir.Model, groups: Sequence[Group], context: Context) -> Mapping[str, Inputs]:
    readers = {
        member.node
        for group in groups
        for member in group.members
        if member.role == "reads" and _is_plain_reader(member)
    }
    return collect_inputs(model, [node for node in model.graph if node in readers], context)


def _normal(scores: Array) -> Array:
    found: Array = scores / max(float(scores.mean()), 1e-30)
    return found
