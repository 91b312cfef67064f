"""Groups of coupled channels: all places of constants that the same set of places touches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import label
from onnxopt.transform import Note
from onnxopt_passes.prune._coupling_dims import Dim, Places, frozen, leaves, normal
from onnxopt_passes.prune._coupling_places import Atlas
from onnxopt_passes.prune._coupling_rules import rule_of
from onnxopt_passes.prune._coupling_sizes import follow
from onnxopt_passes.prune._coupling_walk import Role, Use, Walk

_FEWEST = 2


@dataclass(frozen=True, eq=False)
class Member:
    """One axis of one constant that loses places with a group.

    Attributes:
        value: The constant: an initializer, or what a Constant node makes.
        axis: Along which.
        places: int64 [units, k]: what goes with each unit.
        node: Who reads it.
        role: ``makes`` for what produces the channels, ``reads`` for what takes them in,
            ``carries`` for numbers a channel in between.
    """

    value: ir.Value
    axis: int
    places: npt.NDArray[np.int64]
    node: ir.Node
    role: Role


@dataclass(frozen=True, eq=False)
class Group:
    """Units, each of which can be taken out of the model whatever becomes of the others.

    Groups may overlap: heads, and the places within every head, are two groups over the same
    weights.

    Attributes:
        name: The tensor that the first member that makes the channels is for; the same again for
            the same graph.
        units: How many; at least two.
        members: Constants concerned; at least one makes the channels.
        tensors: Name of each tensor that nodes compute → axis, and int64 [units, k] its places.
    """

    name: str
    units: int
    members: tuple[Member, ...]
    tensors: Mapping[str, tuple[int, npt.NDArray[np.int64]]]


class Analysis:
    """The groups of a model with the leaves they are made of.

    Attributes:
        walk: What was found on the way.
        atlas: Places of leaves.
        groups: Each with its leaves, whose places in order are the units.
    """

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self.walk = Walk(model, rule_of, follow)
        self.atlas = Atlas()
        self._members = self._find_members()
        self._tensors = self._find_tensors()
        self.groups = self._find_groups()

    def refusals(self) -> Iterable[Note]:
        """One note for each reason, on the first of the layers concerned."""
        stuck: dict[str, list[tuple[int, ir.Node, int]]] = {}
        for use in self.walk.uses:
            for dim in use.axes:
                role, node = self.walk.marks.get(dim, ("carries", None))
                size = normal(dim).size or 0
                if node is None or role != "makes" or size < _FEWEST:
                    continue
                why = frozen(dim)
                if why:
                    stuck.setdefault(why, []).append((self.walk.order[node], node, size))
        fed = [value for value in self._graph.inputs if value.name in self._graph.initializers]
        if fed:
            them = "it" if len(fed) == 1 else f"it, as {len(fed) - 1} other weights,"
            yield Note.refused(fed[0], f"{them} may be fed by callers; freeze-default-inputs first")
        for node, reason in self.walk.stopped:
            yield Note.refused(node, f"its weights stay whole: it {reason}")
        for why, rows in stuck.items():
            _, node, size = min(rows, key=lambda row: row[0])
            others = len({row[0] for row in rows}) - 1
            more = f" and those of {others} other layers" if others else ""
            yield Note.refused(node, f"its {size} channels{more} stay: {why}")

    def _find_members(self) -> dict[Dim, list[tuple[tuple[int, int], Use, Places]]]:
        """Leaf → number and axis of each use that it is in, with its places there."""
        found: dict[Dim, list[tuple[tuple[int, int], Use, Places]]] = {}
        for number, use in enumerate(self.walk.uses):
            for axis, dim in enumerate(use.axes):
                for one, places in self.atlas.places(dim).items():
                    found.setdefault(one, []).append(((number, axis), use, places))
        return found

    def _find_tensors(self) -> dict[Dim, dict[str, tuple[int, Places]]]:
        found: dict[Dim, dict[str, tuple[int, Places]]] = {}
        for value, axes in self.walk.axes_of.items():
            if not value.name:
                continue
            for axis, dim in enumerate(axes):
                for one, places in self.atlas.places(dim).items():
                    found.setdefault(one, {}).setdefault(value.name, (axis, places))
        return found

    def _find_groups(self) -> tuple[tuple[Group, tuple[Dim, ...]], ...]:
        rows = []
        for together in self._joined():
            members = self._members_of(together)
            makers = [member for member in members if member.role == "makes"]
            units = sum(one.size or 0 for one in together)
            if makers and units >= _FEWEST:
                first = min(makers, key=lambda member: self.walk.order[member.node])
                rows.append((self.walk.order[first.node], first.node, members, together, units))
        rows.sort(key=lambda row: row[0])
        names: dict[str, int] = {}
        made = []
        for _, node, members, together, units in rows:
            base = node.outputs[0].name or label(node)
            count = names[base] = names.get(base, 0) + 1
            name = base if count == 1 else f"{base}/{count}"
            made.append((Group(name, units, members, self._tensors_of(together)), together))
        return tuple(made)

    def _joined(self) -> list[tuple[Dim, ...]]:
        """Leaves that are in the same members, side by side, are one group.

        Those of a part that a Split or Slice takes stay apart: none of these may become empty.
        """
        parts = {one for part in self.walk.parts for one in leaves(part)}
        alike: dict[object, list[Dim]] = {}
        for one, rows in self._members.items():
            key = one if one in parts else tuple((at, found.shape[1]) for at, _, found in rows)
            alike.setdefault(key, []).append(one)
        made: list[tuple[Dim, ...]] = []
        for found in alike.values():
            found.sort(key=lambda one: int(self._members[one][0][2].min()))
            places = np.concatenate([self._members[one][0][2].reshape(-1) for one in found])
            apart = len(np.unique(places)) == len(places)
            made.extend([tuple(found)] if apart else [(one,) for one in found])
        return made

    def _members_of(self, together: tuple[Dim, ...]) -> tuple[Member, ...]:
        rows = [self._members[one] for one in together]
        made = []
        for index, ((_, axis), use, _) in enumerate(rows[0]):
            places = np.concatenate([row[index][2] for row in rows])
            role, node = self.walk.marks.get(
                use.axes[axis], ("carries", next(iter(use.readers))[0])
            )
            made.append(Member(use.value, axis, places, node, role))
        return tuple(made)

    def _tensors_of(self, together: tuple[Dim, ...]) -> dict[str, tuple[int, Places]]:
        rows = [self._tensors.get(one, {}) for one in together]
        made = {}
        for name, (axis, places) in rows[0].items():
            found = [row[name] for row in rows if name in row]
            same = {(one[0], one[1].shape[1]) for one in found} == {(axis, places.shape[1])}
            if same and len(found) == len(rows):
                made[name] = axis, np.concatenate([one[1] for one in found])
        return made
