"""Which channels of each tensor are left of the original's, written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

METADATA_KEY = "onnxopt.kept_channels"


@dataclass(frozen=True, eq=False)
class KeptChannels:
    """Which channels are left."""

    axis: int
    size: int
    indices: npt.NDArray[np.int64]


def read(model: ir.Model) -> dict[str, KeptChannels]:
    """By name."""
    text = model.graph.metadata_props.get(METADATA_KEY)
    rows = json.loads(text) if text else {}
    return {n: KeptChannels(a, s, np.array(i, np.int64)) for n, (a, s, i) in rows.items()}


def between(reference: ir.Model, candidate: ir.Model) -> dict[str, KeptChannels]:
    """By name."""
    return read(candidate)


def record(model: ir.Model, found: Mapping[str, KeptChannels]) -> None:
    """Write down."""
    rows = {n: [k.axis, k.size, k.indices.tolist()] for n, k in found.items()}
    model.graph.metadata_props[METADATA_KEY] = json.dumps(rows)
