"""First-order importance: how far the outputs move, to first order, when a unit is set to zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.errors import BackendMissingError, DataError
from onnxopt.transform import Context, Need
from onnxopt_passes.prune._coupling import Group, Member

Array = npt.NDArray[Any]
_SAMPLES, _DIRECTIONS = 16, 2


def score_by_taylor(model: ir.Model, groups: Sequence[Group], context: Context) -> dict[str, Array]:
    """``E |d<v, f(x)> / dw w|^2`` over samples ``x`` and random directions ``v``, of each unit.

    ``w`` are the weights that make the unit. The expectation over ``v`` is the square of the change
    of all outputs, so no labels are needed, and groups can be compared. Molchanov et al. (2019),
    "Importance Estimation for Neural Network Pruning", with the outputs in place of a loss.

    Args:
        model: The model; it is not changed.
        groups: Its groups.
        context: For the data.

    Raises:
        BackendMissingError: There is no torch.
        DataError: There is no data.
        ModelError: The model cannot be differentiated.
    """
    if not context.has(Need.TORCH):
        raise BackendMissingError(
            "importance=taylor needs torch, which is not installed",
            todo="pip install 'onnxopt[torch]'",
        )
    data = context.calibration
    if data is None or not len(data):
        raise DataError("there is no calibration data", todo="give some with --data")
    from onnxopt.distill import to_torch

    bridge, generator = to_torch(model), np.random.default_rng(context.seed)
    found = {group.name: np.zeros(group.units) for group in groups}
    count = min(len(data), _SAMPLES)
    for number, sample in enumerate(data.take(range(count))):
        context.progress("differentiate", number, count)
        for _ in range(_DIRECTIONS):
            for weight in bridge.weights.values():
                weight.grad = None
            _direction(bridge(sample.feeds), generator).backward()
            products = {
                name: (weight.detach() * weight.grad).numpy()
                for name, weight in bridge.weights.items()
                if weight.grad is not None
            }
            for group in groups:
                found[group.name] += _moved(group, products) ** 2
    return found


def _direction(outputs: Mapping[str, Any], generator: np.random.Generator) -> Any:
    """The outputs along random directions, each in units of its own size."""
    parts = []
    for value in outputs.values():
        if not (hasattr(value, "is_floating_point") and value.is_floating_point()):
            continue
        if value.requires_grad:
            size = float(value.detach().norm()) or 1.0
            along = generator.standard_normal(tuple(value.shape)) / size
            parts.append((value * value.new_tensor(along)).sum())
    return sum(parts)


def _moved(group: Group, products: Mapping[str, Array]) -> Array:
    found = np.zeros(group.units)
    for member in group.members:
        product = products.get(member.value.name or "")
        if member.role == "makes" and product is not None:
            found += _summed(member, product)
    return found


def _summed(member: Member, product: Array) -> Array:
    first = np.moveaxis(product.astype(np.float64), member.axis, 0)
    rows: Array = first.reshape(product.shape[member.axis], -1).sum(axis=1)[member.places]
    found: Array = rows.sum(axis=1)
    return found
