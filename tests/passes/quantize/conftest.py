"""Small float models, and what quantizing them gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.data import Dataset, synthesize
from onnxopt.graph import all_graphs
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.signature import signature_of
from onnxopt.targets import load_target
from onnxopt.transform import Context, Note
from onnxopt_passes.quantize._calibrated import DATA
from onnxopt_passes.quantize.quantize_static import QuantizeStatic

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '


@dataclass
class Quantized:
    """A float model, its quantized copy and what the pass said."""

    before: ir.Model
    after: ir.Model
    notes: list[Note]
    data: Dataset

    @property
    def ops(self) -> Counter[str]:
        return Counter(node.op_type for node in self.after.graph)

    @property
    def hits(self) -> list[str]:
        return [note.node for note in self.notes if note.kind == "applied"]

    @property
    def refusals(self) -> dict[str, str]:
        refused = (note for note in self.notes if note.kind == "refused")
        return {note.node: note.reason for note in refused if note.node != DATA}

    def value(self, name: str) -> ir.Value:
        graphs = all_graphs(self.after)
        found = {v.name: v for g in graphs for node in g for v in node.outputs}
        found |= {v.name: v for v in self.after.graph.inputs}
        return found[name]

    def readers(self, name: str) -> list[str]:
        return [use.node.op_type for use in self.value(name).uses()]

    def run(self, model: ir.Model, optimization: str = "all") -> list[dict[str, np.ndarray]]:
        with open_session(model, SessionConfig(optimization=optimization)) as session:  # type: ignore[arg-type]
            return [session.run(sample.feeds) for sample in self.data]

    def error(self, optimization: str = "all") -> float:
        """Relative L2 error of all outputs over the calibration data."""
        before, after = self.run(self.before), self.run(self.after, optimization)
        a = np.concatenate([value.ravel() for run in before for value in run.values()])
        b = np.concatenate([value.ravel() for run in after for value in run.values()])
        return float(np.linalg.norm(a - b) / np.linalg.norm(a))

    def optimized_ops(self, folder: Path) -> Counter[str]:
        """Op types of the graph as ONNX Runtime runs it."""
        path = folder / "optimized.onnx"
        with open_session(self.after, SessionConfig(optimized_model_path=path)):
            pass
        nodes = ir.load(path).graph
        return Counter(f"{node.domain}:{node.op_type}".removeprefix(":") for node in nodes)


def quantized(
    model: ir.Model,
    *,
    target: str = "x64-vnni",
    data: Dataset | None = None,
    options: Mapping[str, object] | None = None,
    samples: int = 8,
) -> Quantized:
    """Quantize a copy of a model; every node with a kernel unless the options say otherwise."""
    data = data or synthesize(signature_of(model), dims={}, seed=0, samples=samples)
    step = QuantizeStatic.from_options({"placement": "all", **(options or {})})
    after = model.clone()
    notes = list(step.rewrite(after, Context(target=load_target(target), calibration=data)))
    return Quantized(model, after, notes, data)


def model_of(text: str, **shapes: tuple[int, ...]) -> ir.Model:
    """A model from its text after the header, with random constants of these shapes."""
    generator = np.random.default_rng(0)
    weights = []
    for name, dims in shapes.items():
        numbers = ", ".join(f"{v:.4f}" for v in np.ravel(generator.standard_normal(dims)))
        shape = f"[{','.join(map(str, dims))}]" if dims else ""
        weights.append(f"float{shape} {name} = {{{numbers}}}")
    signature, body = text.split("{", 1)
    declared = f"<{', '.join(weights)}>" if weights else ""
    return store.from_text(f"{HEAD} {signature} {declared} {{ {body}")


@pytest.fixture
def make() -> Callable[..., ir.Model]:
    return model_of


@pytest.fixture
def quantize() -> Callable[..., Quantized]:
    return quantized
