"""Which nodes to compute in integers: the choice that saves most time, as a minimum cut.

Each node with an integer kernel gains or loses by it, and each tensor between an integer and a
float node costs a QuantizeLinear or a DequantizeLinear. Both follow from the target's figures and
the tensors' sizes on the first sample, so the same model, data and target give the same choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from onnxopt.targets import Int8Scheme
from onnxopt_passes.quantize._cut import UNLIMITED, CutGraph
from onnxopt_passes.quantize._units import Unit, output_axis, weight_dims

Sizes = Mapping[str, float]
"""Number of elements by tensor name."""


def tensor_names(units: Iterable[Unit]) -> tuple[str, ...]:
    """The names of all activations that units read or write, in graph order."""
    values = (value for unit in units for value in (*unit.inputs, *unit.outputs))
    return tuple(dict.fromkeys(value.name or "" for value in values))


def gain_ns(unit: Unit, sizes: Sizes) -> float:
    """Nanoseconds that a unit saves by integers when its neighbours have them too."""
    elements = sum(sizes.get(out.name or "", 0.0) for out in unit.outputs)
    dims = weight_dims(unit)
    products = math.prod(dims) / dims[output_axis(unit.node)] if dims and all(dims) else 0.0
    return unit.kernel.gain.of(
        elements=elements, macs=elements * products, weights=math.prod(dims) if dims else 0
    )


def place(units: Sequence[Unit], sizes: Sizes, scheme: Int8Scheme) -> frozenset[Unit]:
    """The units to compute in integers; the fewest where choices are equally fast."""
    chooser = _Chooser(units, sizes, scheme)
    for unit in units:
        chooser.add_gain(unit)
    for value in dict.fromkeys(v for unit in units for v in (*unit.inputs, *unit.outputs)):
        chooser.add_conversions(value)
    return chooser.choose()


class _Chooser:
    """The cut: the source's side is integers, the sink's is float."""

    def __init__(self, units: Sequence[Unit], sizes: Sizes, scheme: Int8Scheme) -> None:
        self._sizes = sizes
        self._scheme = scheme
        self._cut = CutGraph()
        self._places = {unit: self._cut.add_node() for unit in units}
        self._units = {
            node: unit for unit in units for node in (unit.node, unit.absorbed) if node is not None
        }

    def add_gain(self, unit: Unit) -> None:
        """Charge the slower of the two kinds."""
        gain = gain_ns(unit, self._sizes)
        if gain > 0:
            self._cut.add_edge(self._cut.source, self._places[unit], _picoseconds(gain))
        else:
            self._cut.add_edge(self._places[unit], self._cut.sink, _picoseconds(-gain))

    def add_conversions(self, value: ir.Value) -> None:
        """Charge a DequantizeLinear a float reader, and one QuantizeLinear for integer ones."""
        producer = value.producer()
        owner = self._units.get(producer) if producer is not None else None
        start = self._cut.sink if owner is None else self._places[owner]
        readers = [self._units.get(use.node) for use in value.uses()]
        places = [self._places[reader] for reader in dict.fromkeys(readers) if reader is not None]
        elements = self._sizes.get(value.name or "", 0.0)
        quantized = self._cut.add_node()
        self._cut.add_edge(
            quantized, start, _picoseconds(self._scheme.quantize.of(elements=elements))
        )
        for place_ in places:
            self._cut.add_edge(place_, quantized, UNLIMITED)
        if owner is None or owner.kernel.float_output:
            return
        cost = _picoseconds(self._scheme.dequantize.of(elements=elements))
        for place_ in places:
            self._cut.add_edge(start, place_, cost)
        in_float = readers.count(None) + value.is_graph_output()
        self._cut.add_edge(start, self._cut.sink, in_float * cost)

    def choose(self) -> frozenset[Unit]:
        """The units on the integers' side."""
        chosen = self._cut.source_side()
        return frozenset(unit for unit, place_ in self._places.items() if place_ in chosen)


def _picoseconds(nanoseconds: float) -> int:
    return round(nanoseconds * 1000)
