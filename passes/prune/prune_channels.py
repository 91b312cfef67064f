"""Takes the least important channels out of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.errors import RecipeError
from onnxopt.exactness import Exactness
from onnxopt.graph import constant
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.prune._coupling import Group, couplings, keep_units

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PruneChannels(Pass):
    """``W2 f(W1 x)`` → ``W2[:, K] f(W1[K] x)`` for the units K with the largest ``|W1[k]|``.

    A unit is all that has to go together for the model to stay sound: a channel with its
    normalization and the columns of all layers that read it, in all tensors that are added to or
    concatenated with its own; a head; a place of every head; a hidden unit of an LSTM; the same
    places of every group of a convolution. What inputs and outputs or an op need whole stays, with
    a note.

    Filters by norm: Li et al. (2017), "Pruning Filters for Efficient ConvNets".

    Attributes:
        keep: Which part of each group's units stays.
        importance: Norm of the weights that make a unit.
        scope: ``uniform`` keeps the same part of every group.
        multiple: Numbers of channels left are multiples of this, where the group has as many.
        least: Channels that stay in any case.
        skip: Groups, by name, or tensors of groups, that stay whole.
    """

    keep: float = 0.7
    importance: Literal["l1", "l2"] = "l2"
    scope: Literal["uniform"] = "uniform"
    multiple: int = 8
    least: int = 8
    skip: tuple[str, ...] = ()

    exactness = Exactness.LOSSY

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise RecipeError(f"prune-channels: keep is {self.keep:g}", wanted="more than 0, to 1")
        if self.multiple < 1 or self.least < 1:
            raise RecipeError("prune-channels: multiple and least", wanted="1 or more")

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Score, choose, take out; a note for each group."""
        groups, refusals = couplings(model)
        yield from refusals
        skipped = [group.name for group in groups if self._skips(group)]
        for name in skipped:
            yield Note.refused(name, "is to be left whole")
        groups = tuple(group for group in groups if group.name not in skipped)
        rated = {group.name: scores(group, self.importance) for group in groups}
        chosen = choose(groups, rated, self.keep, self.multiple, self.least)
        keep_units(model, chosen)
        for group in groups:
            if group.name in chosen:
                left = len(chosen[group.name])
                yield Note.applied(group.name, f"{left} of {group.units} units stay")
            else:
                yield Note.refused(group.name, f"all of its {group.units} units stay: too few")

    def _skips(self, group: Group) -> bool:
        return any(name == group.name or name in group.tensors for name in self.skip)


def scores(group: Group, importance: Literal["l1", "l2"]) -> Scores:
    """Root mean square over the members that make the channels, of each unit's share of the norm.

    Returns:
        float64 [units].
    """
    rows = []
    for member in group.members:
        array = constant(member.value)
        if member.role != "makes" or array is None:
            continue
        first = np.moveaxis(array.astype(np.float64), member.axis, 0)
        flat = first.reshape(len(first), -1)[member.places].reshape(group.units, -1)
        norm = np.abs(flat).sum(1) if importance == "l1" else np.sqrt((flat**2).sum(1))
        rows.append(norm / max(float(norm.mean()), 1e-30))
    found: Scores = np.sqrt(np.mean(np.square(rows), axis=0))
    return found


def choose(
    groups: Sequence[Group],
    rated: Mapping[str, Scores],
    keep: float,
    multiple: int,
    least: int,
) -> dict[str, npt.NDArray[np.int64]]:
    """The best units of each group that can lose some, as many as its share and a multiple."""
    made = {}
    for group in groups:
        count = rounded(group, keep, multiple, least)
        if count < group.units:
            order = np.argsort(-rated[group.name], kind="stable")[:count]
            made[group.name] = np.sort(order).astype(np.int64)
    return made


def rounded(group: Group, keep: float, multiple: int, least: int) -> int:
    """How many units to keep for the number of channels to be a multiple: never none, never more.

    The channels of a unit are counted in the tensor that the group has its name from.
    """
    channels = channels_of(group)
    step = multiple // math.gcd(multiple, channels)
    count = round(group.units * keep / step) * step
    return min(max(count, step, -(-least // channels)), group.units)


def channels_of(group: Group) -> int:
    """Channels of a unit in the tensor it is made in."""
    makers = [member for member in group.members if member.role == "makes"]
    names = [group.name, *(out.name or "" for one in makers for out in one.node.outputs)]
    found = (group.tensors[name] for name in names if name in group.tensors)
    return next((int(places.shape[1]) for _, places in found), 1)
