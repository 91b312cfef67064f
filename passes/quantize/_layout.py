"""Where codes lie channels first, which some kernels mind: what around them decides it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.targets import ChannelsLast
from onnxopt_passes.quantize._units import Unit, readers_of

Units = Mapping[ir.Node, Unit]


@dataclass(frozen=True)
class Surroundings:
    """What decides the layout of the codes around a unit.

    Attributes:
        ahead: The units that must all be in integers for it to read codes channels last; None
            where it never does.
        behind: The units whose codes the runtime moves up to before it where it is in float.
    """

    ahead: frozenset[Unit] | None
    behind: frozenset[Unit]

    def slow(self, inside: bool, chosen: Collection[Unit]) -> bool:
        """Whether the runtime computes the unit in codes channels first, for a placement."""
        if inside:
            return self.ahead is None or any(unit not in chosen for unit in self.ahead)
        return any(unit in chosen for unit in self.behind)


def surroundings(
    units: Iterable[Unit], owners: Units, layout: ChannelsLast
) -> dict[Unit, Surroundings]:
    """The surroundings of the units whose kernels mind the layout."""
    return {
        unit: Surroundings(_ahead(unit, owners, layout), _behind(unit, owners))
        for unit in units
        if unit.kernel.minds_layout
    }


def _ahead(unit: Unit, owners: Units, layout: ChannelsLast) -> frozenset[Unit] | None:
    found: set[Unit] = set()
    pending = [unit]
    while pending:
        for value in pending.pop().inputs:
            producer = value.producer()
            owner = owners.get(producer) if producer is not None else None
            if owner is None or owner.node.op_type not in layout.ops:
                return None
            if owner not in found and owner.node.op_type in layout.kept:
                pending.append(owner)
            found.add(owner)
    return frozenset(found)


def _behind(unit: Unit, owners: Units) -> frozenset[Unit]:
    found: set[Unit] = set()
    pending = [unit]
    while pending:
        for value in pending.pop().outputs:
            readers = {reader for reader in readers_of(value, owners) if reader is not None}
            pending += [reader for reader in readers - found if reader.kernel.shares_scale]
            found |= readers
    return frozenset(found)
