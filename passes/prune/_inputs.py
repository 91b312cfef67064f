"""What layers read, channel by channel: means, magnitudes and how channels go together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import is_op
from onnxopt.transform import Context
from onnxopt_passes._trial import session_config
from onnxopt_passes._walk import Walk, few_samples

Array = npt.NDArray[Any]
_SAMPLES, _POSITIONS = 32, 8192
_MOST_CHANNELS = 4096  # of which products are kept two by two


@dataclass(frozen=True, eq=False)
class Inputs:
    """The channels of one tensor over sampled positions.

    Attributes:
        magnitudes: Mean of the absolute values, float64 [channels].
        covariance: Float64 [channels, channels]; variances alone, [channels], of too many.
        positions: How many there were.
    """

    magnitudes: Array
    covariance: Array
    positions: int


def source_axis(node: ir.Node) -> int:
    """The channels' axis of what a product reads."""
    return 1 if is_op(node, "Conv", "ConvTranspose") else -1


def collect_inputs(
    model: ir.Model, nodes: Iterable[ir.Node], context: Context
) -> dict[str, Inputs]:
    """What products read, by tensor name.

    Args:
        model: The model.
        nodes: Its products in graph order.
        context: For the data.

    Raises:
        DataError: There is no data.
        ModelError: The model does not run.
    """
    samples = few_samples(model, context, _SAMPLES)
    walk, found = Walk(model, samples, session_config(context)), dict[str, Inputs]()
    sources = {node.inputs[0]: source_axis(node) for node in nodes if node.inputs[0] is not None}
    places: dict[ir.Node | None, int] = {node: at for at, node in enumerate(model.graph)}
    ordered = sorted(sources, key=lambda v: places.get(v.producer(), -1))
    for number, source in enumerate(ordered):
        context.progress("look at channels", number, len(ordered))
        generator, name = np.random.default_rng([context.seed, number]), source.name or ""
        rows = []
        for values in walk.until([name]):
            row = np.moveaxis(np.asarray(values[name], np.float32), sources[source], -1)
            row = row.reshape(-1, row.shape[-1])
            most = _POSITIONS // len(samples)
            chosen = generator.permutation(len(row))[:most] if len(row) > most else slice(None)
            rows.append(row[chosen])
        found[name] = _inputs(np.concatenate(rows))
    return found


def _inputs(rows: Array) -> Inputs:
    magnitudes = np.abs(rows).mean(axis=0, dtype=np.float64)
    centred = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    if rows.shape[1] > _MOST_CHANNELS:
        variances = np.square(centred).mean(axis=0, dtype=np.float64)
        return Inputs(magnitudes, variances, len(rows))
    covariance = (centred.T @ centred).astype(np.float64) / len(rows)
    return Inputs(magnitudes, covariance, len(rows))
