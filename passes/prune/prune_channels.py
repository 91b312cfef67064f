"""Takes the least important channels out of a model."""

from __future__ import annotations

import fnmatch
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import onnx_ir as ir

from onnxopt.errors import RecipeError
from onnxopt.exactness import Exactness
from onnxopt.graph import label
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.prune._choice import (
    Grain,
    Scores,
    best_units,
    counts_in_time,
    counts_overall,
    counts_per_group,
)
from onnxopt_passes.prune._coupling import Group, couplings, keep_units
from onnxopt_passes.prune._importance import Importance, score_units
from onnxopt_passes.prune._latency import forecast_of


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
        keep: Which part of each group's units stays; of all units, or of the time, by ``scope``.
        importance: What counts, see ``score_units``; ``auto`` is ``reconstruction`` with data,
            ``l2`` without.
        scope: ``uniform`` keeps the same part of every group, ``global`` the most important units
            of all, ``latency`` those that leave ``keep`` of the time that the target's figures
            foresee, so that most time is gained for what is lost.
        multiple: Numbers of channels left are multiples of this, where the group has as many.
        least: Channels that stay in any case.
        skip: Groups that stay whole, by their name or that of one of their tensors or of a layer
            that makes their channels (``*`` and ``?`` allowed).
        units: How many units to keep by group name, in place of ``keep`` and ``scope``; groups that
            are not named stay whole.
    """

    keep: float = 0.7
    importance: Literal["auto"] | Importance = "auto"
    scope: Literal["uniform", "global", "latency"] = "uniform"
    multiple: int = 8
    least: int = 8
    skip: tuple[str, ...] = ()
    units: Mapping[str, int] = field(default_factory=dict, hash=False)

    exactness: ClassVar[Exactness] = Exactness.LOSSY

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise RecipeError(f"prune-channels: keep is {self.keep:g}", wanted="more than 0, to 1")
        if self.multiple < 1 or self.least < 1:
            raise RecipeError("prune-channels: multiple and least", wanted="1 or more")

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Score, choose, take out; a note for each group."""
        groups, refusals = couplings(model)
        yield from refusals
        groups = yield from self._without_skipped(groups)
        if not groups:
            return
        scores = score_units(model, groups, self._importance(context), context)
        counts = self._counts(model, groups, scores, context)
        chosen = best_units(groups, scores, counts)
        keep_units(model, chosen)
        for group in groups:
            if group.name in chosen:
                left = len(chosen[group.name])
                yield Note.applied(group.name, f"{left} of {group.units} units stay")
            elif not self.units:
                yield Note.refused(group.name, f"all of its {group.units} units stay")
        if chosen and not self.units and self.scope != "uniform":
            name = model.graph.name or "model"
            counts = {
                group.name: len(chosen[group.name]) for group in groups if group.name in chosen
            }
            step = replace(self, keep=0.7, scope="uniform", units=counts)
            yield Note("applied", name, f"{len(counts)} groups are smaller", {"replay": str(step)})

    def _importance(self, context: Context) -> Importance:
        if self.importance != "auto":
            return self.importance
        return "l2" if context.calibration is None else "reconstruction"

    def _counts(
        self, model: ir.Model, groups: Sequence[Group], scores: Scores, context: Context
    ) -> Mapping[str, int]:
        grain = Grain(self.multiple, self.least)
        if self.units:
            return _known(groups, self.units)
        if self.scope == "uniform":
            return counts_per_group(groups, self.keep, grain)
        if self.scope == "global":
            return counts_overall(groups, scores, self.keep, grain)
        forecast = forecast_of(model, groups, context)
        return counts_in_time(groups, scores, forecast, self.keep, grain)

    def _without_skipped(self, groups: Sequence[Group]) -> Generator[Note, None, tuple[Group, ...]]:
        """The groups that may become smaller; notes on the others, and on names that fit none."""
        names = {group.name: _names(group) for group in groups}
        left = []
        for group in groups:
            if any(fnmatch.filter(names[group.name], word) for word in self.skip):
                yield Note.refused(group.name, "is to be left whole")
            else:
                left.append(group)
        for word in dict.fromkeys(self.skip):
            if not any(fnmatch.filter(own, word) for own in names.values()):
                yield Note.refused(word, "no group of channels has a name, tensor or layer like it")
        return tuple(left)


def _names(group: Group) -> set[str]:
    """What a group goes by: its own name, its tensors and the layers that make its channels."""
    makers = {label(member.node) for member in group.members if member.role == "makes"}
    return {group.name, *group.tensors, *makers}


def _known(groups: Sequence[Group], units: Mapping[str, int]) -> Mapping[str, int]:
    """Counts by name, checked."""
    sizes = {group.name: group.units for group in groups}
    for name, count in units.items():
        if name not in sizes:
            raise RecipeError(
                f"prune-channels: there is no group {name!r}", f"one of {', '.join(sizes)}"
            )
        if not 0 < count <= sizes[name]:
            raise RecipeError(f"prune-channels: {count} units of {name}", f"1 to {sizes[name]}")
    return units
