"""Which tensors are scaled channel by channel against the original model's, written down.

A pass that moves scales between layers leaves names alone: a tensor ``t`` then is the original's
``t`` divided by a number a channel. These numbers are kept in the graph's metadata, so that later
passes can compare the two.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.comparing import kept

METADATA_KEY = "onnxopt.channel_scales"


@dataclass(frozen=True, eq=False)
class ChannelScale:
    """What a tensor has been divided by.

    Attributes:
        axis: Its channels' axis; negative ones count from the last.
        scale: float64 [channels], positive.
    """

    axis: int
    scale: npt.NDArray[np.float64]

    def shaped(self, rank: int) -> npt.NDArray[np.float64]:
        """The scale, shaped to multiply a tensor of this rank."""
        shape = [1] * rank
        shape[self.axis] = -1
        return self.scale.reshape(shape)

    def of_kept(self, rows: Sequence[kept.Kept]) -> ChannelScale:
        """Those of the channels kept along its axis; needs an axis counted from the first."""
        found = [row.indices for row in rows if row.axis == self.axis]
        return ChannelScale(self.axis, self.scale[found[0]]) if found else self


def read(model: ir.Model) -> dict[str, ChannelScale]:
    """The scales of all tensors that have any, by name."""
    text = model.graph.metadata_props.get(METADATA_KEY)
    rows: dict[str, Any] = json.loads(text) if text else {}
    return {name: ChannelScale(axis, _decoded(scale)) for name, (axis, scale) in rows.items()}


def between(reference: ir.Model, candidate: ir.Model) -> dict[str, ChannelScale]:
    """What the candidate's tensors are the reference's divided by, where it is not 1, by name."""
    ours, theirs = read(reference), read(candidate)
    for name, rows in kept.between(reference, candidate).items():
        if name in ours:
            ours[name] = ours[name].of_kept(rows)
    made = {}
    for name in ours.keys() | theirs.keys():
        own, its = ours.get(name), theirs.get(name)
        if own is None and its is not None:
            made[name] = its
        elif own is not None:
            scale = 1 / own.scale if its is None else its.scale / own.scale
            made[name] = ChannelScale(own.axis, scale)
    return made


def record(model: ir.Model, scales: Mapping[str, ChannelScale]) -> None:
    """Write scales down, on top of those known."""
    known = read(model)
    for name, new in scales.items():
        old = known.get(name)
        known[name] = new if old is None else ChannelScale(new.axis, old.scale * new.scale)
    write(model, known)


def write(model: ir.Model, scales: Mapping[str, ChannelScale]) -> None:
    """Write scales down in place of those known."""
    rows = {name: [one.axis, _encoded(one.scale)] for name, one in sorted(scales.items())}
    model.graph.metadata_props[METADATA_KEY] = json.dumps(rows)


def _encoded(scale: npt.NDArray[np.float64]) -> str:
    return base64.b64encode(scale.astype("<f4").tobytes()).decode("ascii")


def _decoded(text: str) -> npt.NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64)
