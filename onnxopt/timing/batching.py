"""Runs that work on several items at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.data import Feeds, Sizes, open_dimensions
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature


def batch_sizes(signature: Signature, batch: int, fixed: Sizes) -> Sizes:
    """Sizes of open dimensions under which made-up inputs hold ``batch`` items.

    The items lie along the first axis, where that is open; with it goes every axis of its name.

    Args:
        signature: Of the model.
        batch: How many items.
        fixed: Sizes that the user set.

    Raises:
        UsageError: no first axis is open, or the user set it to another size.
    """
    keys = sorted(_batch_keys(signature))
    if not keys:
        inputs = "; ".join(map(str, signature.inputs))
        raise UsageError(f"batch {batch} with inputs {inputs}", "an input whose first axis is open")
    for key in keys:
        if fixed.get(key, batch) != batch:
            raise UsageError(f"batch {batch} and {key}={fixed[key]} speak of one axis", "one size")
    return {**fixed, **dict.fromkeys(keys, batch)}


def stacked(signature: Signature, samples: Sequence[Feeds], batch: int) -> list[Feeds]:
    """Samples of one item each, ``batch`` at a time along the first axis.

    Inputs whose first axis is not open (a sample rate, a fixed mask) must be equal in all.

    Raises:
        UsageError: no first axis is open.
        DataError: a sample holds other than one item, or samples differ in shape.
    """
    batch_sizes(signature, batch, {})
    open_inputs = _open_inputs(signature)
    groups = [samples[start : start + batch] for start in range(0, len(samples), batch)]
    return [{name: _joined(group, name, open_inputs) for name in group[0]} for group in groups]


def _joined(group: Sequence[Feeds], name: str, open_inputs: frozenset[str]) -> npt.NDArray[Any]:
    values = [feeds[name] for feeds in group]
    if name not in open_inputs:
        if any(not np.array_equal(values[0], other) for other in values[1:]):
            raise DataError(f"input {name} differs between samples and has no batch axis")
        return values[0]
    shapes = {value.shape for value in values}
    if len(shapes) > 1:
        found = ", ".join(str(list(shape)) for shape in sorted(shapes))
        raise DataError(f"input {name} has samples of shapes {found}", "one shape in a batch")
    if values[0].shape[0] != 1:
        raise DataError(f"input {name}: a sample has {values[0].shape[0]} items", "one")
    return np.concatenate(values)


def _batch_keys(signature: Signature) -> set[str]:
    first = {d.key: any(axis == 0 for _, axis in d.places) for d in open_dimensions(signature)}
    return {key for key, is_first in first.items() if is_first}


def _open_inputs(signature: Signature) -> frozenset[str]:
    """Inputs with an open first axis."""
    shapes = {spec.name: spec.shape for spec in signature.inputs}
    return frozenset(name for name, dims in shapes.items() if dims and not isinstance(dims[0], int))
