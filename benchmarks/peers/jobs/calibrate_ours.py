"""Our calibration, one streaming pass for every method, and the quantization it feeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxopt import pipeline, store
from onnxopt.api import RunOptions
from onnxopt.api.workbench import Workbench
from onnxopt.calibrate import collect, value_range
from onnxopt.data import Sample, SourceDataset, Split
from onnxopt.graph import all_nodes
from onnxopt.recipe import Recipe
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


def quantize(model: str, method: str, samples: int, target: str) -> int:
    """``quantize-static`` for this machine, without repair; returns the file's size."""
    name = signature_of(store.load(model)).inputs[0].name
    data = SourceDataset(_Images(name, samples))
    split = Split(data, data.take([]), data.take([0]))
    bench = Workbench.open(model, split, RunOptions())
    recipe = Recipe.parse(f"quantize-static{{method={method}}}")
    store.save(pipeline.run(bench.model, recipe, bench.context).model, target)
    return Path(target).stat().st_size
