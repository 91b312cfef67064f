"""How strong each channel is that a layer reads, on real data."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.calibrate import tapped_values
from onnxopt.counting import LayerWeight
from onnxopt.errors import DataError
from onnxopt.graph import attribute, is_op
from onnxopt.transform import Context, Note
from onnxopt_passes.prune._weights import Prunable

Vector = npt.NDArray[np.float64]
_RECURRENCE = 2


def channel_strengths(
    model: ir.Model, weights: Sequence[Prunable], context: Context
) -> dict[str, Vector]:
    """Root mean square of each channel of what layers read, float64 [channels], by tensor name.

    Tensors of subgraphs, and those whose number of channels varies, are left out.

    Raises:
        DataError: There is no calibration data.
    """
    data = context.calibration
    if data is None or not len(data):
        raise DataError("there is no calibration data", todo="give some with --data")
    readers = [reader for weight in weights for reader in weight.readers]
    read = [source for source in map(_source, readers) if source is not None]
    axes = {value.name or "": axis for value, axis in read}
    sums: dict[str, _Squares] = {}
    for values in tapped_values(model, axes, data, threads=context.threads):
        _take_in(values, axes, sums)
    return {name: found.root_mean() for name, found in sums.items() if found.fits}


def along(weight: Prunable, strengths: Mapping[str, Vector]) -> npt.NDArray[np.float32]:
    """What each element of a weight multiplies, float32 that broadcasts against it.

    Of several readers the root of the sum of squares; 1 where nothing is known.
    """
    total: Any = None
    for reader in weight.readers:
        source = _source(reader)
        found = None if source is None else strengths.get(source[0].name or "")
        if found is None:
            return np.ones(1, np.float32)
        squares = _shaped(reader, found**2)
        if squares is None:
            return np.ones(1, np.float32)
        total = squares if total is None else total + squares
    made: npt.NDArray[np.float32] = np.sqrt(total).astype(np.float32)
    return made


def with_known_inputs(
    weights: Sequence[Prunable], strengths: Mapping[str, Vector]
) -> Generator[Note, None, list[Prunable]]:
    """The weights of which it is known what every reader multiplies them with; notes on others.

    A recurrent weight multiplies states that no tensor shows: for those 1 will do.
    """
    found = []
    for weight in weights:
        sources = [_source(reader) for reader in weight.readers]
        if all(source is None or source[0].name in strengths for source in sources):
            found.append(weight)
        else:
            yield Note.refused(weight.name, "what it multiplies cannot be calibrated")
    return found


def _source(reader: LayerWeight) -> tuple[ir.Value, int] | None:
    """What a layer multiplies a weight with, and the axis that the reduction runs along; None for
    the recurrent weight, which multiplies states that no tensor shows.
    """
    node, place = reader.node, reader.place
    if is_op(node, "LSTM", "GRU", "RNN"):
        value, axis = (node.inputs[0], -1) if place < _RECURRENCE else (None, 0)
    elif is_op(node, "Conv", "ConvTranspose"):
        value, axis = node.inputs[0], 1
    else:
        is_left = place == 0
        turned = bool(attribute(node, "transB" if is_left else "transA", 0))
        value, axis = node.inputs[1 - place], -2 if is_left != turned else -1
    return None if value is None else (value, axis)


def _shaped(reader: LayerWeight, channels: Vector) -> Vector | None:
    """Numbers of channels, shaped to broadcast against a weight; None where they do not fit."""
    shape, axis = reader.shape, reader.reduction_axis
    if is_op(reader.node, "Conv") and reader.group > 1:
        inputs = shape[1]
        if channels.size != inputs * reader.group:
            return None
        rows = np.repeat(channels.reshape(reader.group, inputs), shape[0] // reader.group, axis=0)
        return rows.reshape(shape[0], inputs, *[1] * (len(shape) - 2))
    if channels.size != shape[axis]:
        return None
    return channels.reshape([-1 if a == axis else 1 for a in range(len(shape))])


@dataclass
class _Squares:
    """Sums of squares of the channels of one tensor."""

    total: Vector
    count: int = 0
    fits: bool = field(default=True)

    def root_mean(self) -> Vector:
        made: Vector = np.sqrt(self.total / max(self.count, 1))
        return made


def _take_in(values: Mapping[str, Any], axes: Mapping[str, int], sums: dict[str, _Squares]) -> None:
    for name, value in values.items():
        array, axis = np.asarray(value), axes[name]
        if not -array.ndim <= axis < array.ndim:
            sums[name] = _Squares(np.zeros(0), fits=False)
            continue
        rows = np.moveaxis(array.astype(np.float64), axis, -1).reshape(-1, array.shape[axis])
        found = np.square(rows).sum(axis=0)
        known = sums.setdefault(name, _Squares(np.zeros(found.size)))
        if known.total.size != found.size:
            known.fits = False
            continue
        known.total += found
        known.count += len(rows)
