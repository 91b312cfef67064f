"""Calibration by our streaming pass, which serves every method at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onnxopt import store
from onnxopt.calibrate import collect, value_range
from onnxopt.data import Sample, SourceDataset
from onnxopt.graph import all_nodes
from onnxopt.signature import signature_of
from peers.made_resnet import image


@dataclass(frozen=True)
class _Images:
    """So many made-up images, each made when it is asked for."""

    name: str
    count: int
    origin: str = "made-up images"
    fingerprint: str = "made-up images"
    notes: tuple[str, ...] = ()
    is_random: bool = True

    @property
    def items(self) -> Sequence[str]:
        return tuple(map(str, range(self.count)))

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        for number in range(self.count) if indices is None else indices:
            yield Sample({self.name: image(number)}, None, str(number))


def run(model: str, samples: int) -> int:
    """Both kinds of range of every float tensor; returns how many tensors."""
    loaded = store.load(model)
    name = signature_of(loaded).inputs[0].name
    names = [value.name for node in all_nodes(loaded) for value in node.outputs if value.name]
    found = collect(loaded, [name, *names], SourceDataset(_Images(name, samples)))
    for tensor in found:
        value_range(found[tensor], "minmax")
        value_range(found[tensor], "percentile", 99.999)
    return len(list(found))
