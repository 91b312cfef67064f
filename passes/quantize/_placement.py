"""Which nodes to compute in integers: the choice that saves most time, as a minimum cut.

Each node with an integer kernel gains or loses by it, and each tensor between an integer and a
float node costs a QuantizeLinear or a DequantizeLinear. Both follow from the target's figures and
the tensors' sizes on the first sample, so the same model, data and target give the same choice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import onnx_ir as ir

from onnxopt.targets import Int8Scheme
from onnxopt_passes._cut import UNLIMITED, CutGraph
from onnxopt_passes.quantize._gains import Sizes, channels_first_ns, gain_ns, slowed_ns
from onnxopt_passes.quantize._layout import Surroundings, surroundings
from onnxopt_passes.quantize._noise import Noise
from onnxopt_passes.quantize._units import (
    Slowed,
    Unit,
    owners_of,
    readers_of,
    slowed_by,
    values_of,
)

_MOST_PENALTY_NS = 1e12


def tensor_names(units: Iterable[Unit]) -> tuple[str, ...]:
    """The names of all activations that units read or write, in graph order."""
    return tuple(value.name or "" for value in values_of(units))


def place(
    units: Sequence[Unit],
    sizes: Sizes,
    scheme: Int8Scheme,
    penalties: Noise | None = None,
) -> frozenset[Unit]:
    """The units to compute in integers; the fewest where choices are equally fast.

    Args:
        units: The units to choose from.
        sizes: Of all tensors around them.
        scheme: What conversions cost.
        penalties: Nanoseconds by which integers count as slower than they are, for each source
            of noise. Where all of them grow in proportion, their sum over what is in codes,
            before they grew, never does.
    """
    chooser = _Chooser(units, sizes, scheme)
    for unit in units:
        chooser.add_gain(unit)
        chooser.add_partner(unit)
    for value in values_of(units):
        chooser.add_conversions(value)
    chooser.add_layouts()
    for slowed, by in slowed_by(units).items():
        chooser.add_slowed(slowed, by)
    if penalties is not None:
        for unit in units:
            chooser.add_weight_noise(unit, penalties)
        for value in values_of(units):
            chooser.add_tensor_noise(value, penalties)
    return chooser.choose()


def saved_ns(
    units: Sequence[Unit], chosen: Collection[Unit], sizes: Sizes, scheme: Int8Scheme
) -> float:
    """Nanoseconds that a choice saves: its gains, less its conversions and wrong layouts."""
    owners = owners_of(units)
    saved = sum(gain_ns(unit, sizes, scheme) for unit in chosen)
    for unit, around in surroundings(units, owners, scheme.channels_last).items():
        saved -= channels_first_ns(unit, sizes) if around.slow(unit in chosen, chosen) else 0.0
    for slowed, by in slowed_by(units).items():
        saved -= slowed_ns(slowed, sizes) if any(unit in chosen for unit in by) else 0.0
    for value in values_of(units):
        producer = value.producer()
        owner = owners.get(producer) if producer is not None else None
        made = owner is not None and owner in chosen
        readers = readers_of(value, owners)
        units_reading = {reader for reader in readers if reader is not None}
        in_integers = sum(reader in chosen for reader in units_reading)
        elements = sizes.get(value.name or "", 0.0)
        if in_integers and not (made and owner is not None and owner.kernel.output == "codes"):
            saved -= scheme.quantize.of(elements=elements)
        if made and owner is not None and not owner.kernel.may_leave_float:
            in_float = len(units_reading) - in_integers
            in_float += readers.count(None) + value.is_graph_output()
            saved -= in_float * scheme.dequantize.of(elements=elements)
    return saved


class _Chooser:
    """The cut: the source's side is integers, the sink's is float."""

    def __init__(self, units: Sequence[Unit], sizes: Sizes, scheme: Int8Scheme) -> None:
        self._sizes = sizes
        self._scheme = scheme
        self._cut = CutGraph()
        self._places = {unit: self._cut.add_node() for unit in units}
        self._units = owners_of(units)

    def add_gain(self, unit: Unit) -> None:
        """Charge the slower of the two kinds."""
        gain = gain_ns(unit, self._sizes, self._scheme)
        if gain > 0:
            self._cut.add_edge(self._cut.source, self._places[unit], _picoseconds(gain))
        else:
            self._cut.add_edge(self._places[unit], self._cut.sink, _picoseconds(-gain))

    def add_partner(self, unit: Unit) -> None:
        """A sum in one kernel with a product is in integers only where that product is."""
        partner = None if unit.partner is None else self._units.get(unit.partner)
        if partner is not None:
            self._cut.add_edge(self._places[unit], self._places[partner], UNLIMITED)

    def add_conversions(self, value: ir.Value) -> None:
        """Charge a DequantizeLinear a float reader, and one QuantizeLinear for integer ones."""
        producer = value.producer()
        owner = self._units.get(producer) if producer is not None else None
        in_codes = owner is not None and owner.kernel.output == "codes"
        start = self._places[owner] if owner is not None and in_codes else self._cut.sink
        readers = readers_of(value, self._units)
        places = [self._places[reader] for reader in dict.fromkeys(readers) if reader is not None]
        elements = self._sizes.get(value.name or "", 0.0)
        quantized = self._cut.add_node()
        cost = _picoseconds(self._scheme.quantize.of(elements=elements))
        self._cut.add_edge(quantized, start, cost)
        for place_ in places:
            self._cut.add_edge(place_, quantized, UNLIMITED)
        if owner is None or owner.kernel.may_leave_float:
            return
        cost = _picoseconds(self._scheme.dequantize.of(elements=elements))
        for place_ in places:
            self._cut.add_edge(start, place_, cost)
        in_float = readers.count(None) + value.is_graph_output()
        self._cut.add_edge(start, self._cut.sink, in_float * cost)

    def add_layouts(self) -> None:
        """Charge codes that lie channels first around units that mind."""
        minding = dict.fromkeys(self._units.values())
        for unit, around in surroundings(minding, self._units, self._scheme.channels_last).items():
            self._add_layout(unit, around)

    def _add_layout(self, unit: Unit, around: Surroundings) -> None:
        """Charge each way for them once."""
        here, cost = self._places[unit], _picoseconds(channels_first_ns(unit, self._sizes))
        if around.ahead is None:
            self._cut.add_edge(here, self._cut.sink, cost)
        else:
            last = self._cut.add_node()
            self._cut.add_edge(here, last, cost)
            for other in around.ahead:
                self._cut.add_edge(last, self._places[other], UNLIMITED)
        coded = self._cut.add_node()
        self._cut.add_edge(coded, here, cost)
        for other in around.behind:
            self._cut.add_edge(self._places[other], coded, UNLIMITED)

    def add_slowed(self, slowed: Slowed, by: Sequence[Unit]) -> None:
        """Charge what a float node loses, once, whichever unit ahead of it is in integers."""
        cost = _picoseconds(slowed_ns(slowed, self._sizes))
        coded = self._cut.add_node()
        self._cut.add_edge(coded, self._cut.sink, cost)
        for unit in by:
            self._cut.add_edge(self._places[unit], coded, UNLIMITED)

    def add_weight_noise(self, unit: Unit, penalties: Noise) -> None:
        """Charge what a unit's integer weights do to the outputs."""
        penalty = penalties.of_weight(unit)
        if penalty > 0:
            self._cut.add_edge(self._places[unit], self._cut.sink, _penalty(penalty))

    def add_tensor_noise(self, value: ir.Value, penalties: Noise) -> None:
        """Charge what a tensor's codes do to the outputs, once whoever made or reads them."""
        penalty = penalties.of_tensor(value)
        if penalty <= 0:
            return
        producer = value.producer()
        owner = self._units.get(producer) if producer is not None else None
        readers = readers_of(value, self._units)
        users = [reader for reader in dict.fromkeys(readers) if reader is not None]
        coded = self._cut.add_node()
        repeats = owner is not None and owner.repeats_codes
        end = self._places[owner] if owner is not None and repeats else self._cut.sink
        self._cut.add_edge(coded, end, _penalty(penalty))
        if owner is not None and not repeats and not owner.kernel.may_leave_float:
            users.append(owner)
        for user in users:
            self._cut.add_edge(self._places[user], coded, UNLIMITED)

    def choose(self) -> frozenset[Unit]:
        """The units on the integers' side."""
        chosen = self._cut.source_side()
        return frozenset(unit for unit, place_ in self._places.items() if place_ in chosen)


def _penalty(nanoseconds: float) -> int:
    return _picoseconds(min(nanoseconds, _MOST_PENALTY_NS))


def _picoseconds(nanoseconds: float) -> int:
    return round(nanoseconds * 1000)
