"""What codes do to a model's outputs: the power of the noise that each tensor and weight adds.

A source of noise is a tensor put into codes or a weight put into codes. Each alone makes the
outputs differ by ``e``, relative to their size; noises of different sources are as good as
independent, so that the powers ``e^2`` add up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxopt.graph import label
from onnxopt_passes.quantize._units import Unit, owners_of, readers_of, values_of


@dataclass(frozen=True)
class Noise:
    """A number for each source of noise: its power, or what that counts for.

    Attributes:
        tensors: By tensor name.
        weights: By the name of the node that has the weight.
    """

    tensors: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

    def of_tensor(self, value: ir.Value) -> float:
        """Of a tensor's codes; 0 where they are not known."""
        return self.tensors.get(value.name or "", 0.0)

    def of_weight(self, unit: Unit) -> float:
        """Of a unit's weight in codes; 0 where it has none."""
        return self.weights.get(label(unit.node), 0.0)

    def times(self, factor: float) -> Noise:
        """Every number times a factor."""
        return Noise(
            {name: factor * power for name, power in self.tensors.items()},
            {name: factor * power for name, power in self.weights.items()},
        )

    def with_weights(self, units: Collection[Unit], number: float) -> Noise:
        """The same with another number for some units' weights."""
        return Noise(self.tensors, {**self.weights, **{label(u.node): number for u in units}})

    def around(self, unit: Unit) -> float:
        """Of everything that a unit alone puts into codes."""
        values = unit.inputs if unit.kernel.may_leave_float else (*unit.inputs, *unit.outputs)
        if unit.repeats_codes:
            values = unit.inputs
        return self.of_weight(unit) + sum(self.of_tensor(value) for value in dict.fromkeys(values))

    def total(self, units: Sequence[Unit], chosen: Collection[Unit]) -> float:
        """Of everything in codes where some units of all are computed in integers."""
        owners = owners_of(units)
        found = sum(self.of_weight(unit) for unit in chosen)
        for value in values_of(units):
            producer = value.producer()
            owner = owners.get(producer) if producer is not None else None
            made = owner is not None and owner in chosen
            if owner is not None and made and owner.repeats_codes:
                continue
            made = made and owner is not None and not owner.kernel.may_leave_float
            readers = readers_of(value, owners)
            if made or any(reader is not None and reader in chosen for reader in readers):
                found += self.of_tensor(value)
        return found
