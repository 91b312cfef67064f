"""A small convolutional teacher, students made of it, and something to look at."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxopt import store
from onnxopt.data import SourceDataset, in_memory
from onnxopt.data.dataset import Sample
from onnxopt.graph import constant, rewrite_constant

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[{batch},1,6,6] x) => (float[{batch},3] y)
<float[8,1,3,3] w1, float[8] b1, float[8,8,3,3] w2, float[8] b2, float[8,8,3,3] w3, float[8] b3,
 float[8,3] w4, float[3] b4> {{
  c1 = Conv<pads = [1,1,1,1]>(x, w1, b1)
  block1 = Relu(c1)
  c2 = Conv<pads = [1,1,1,1]>(block1, w2, b2)
  r2 = Relu(c2)
  c3 = Conv<pads = [1,1,1,1]>(r2, w3, b3)
  sum = Add(c3, block1)
  block2 = Relu(sum)
  pooled = GlobalAveragePool(block2)
  flat = Flatten(pooled)
  scores = Gemm(flat, w4, b4)
  y = {last}(scores)
}}"""


def teacher(last: str = "Softmax", batch: str = "N", seed: int = 0) -> ir.Model:
    """A network with random weights, whose answers differ from sample to sample."""
    text = TEXT.format(batch=batch, last=last)
    header, body = text.split("> {", 1)
    declared = header[header.index("\n<") + 2 :]
    rng = np.random.default_rng(seed)
    model = store.from_text(text.replace("\n<" + declared + ">", _filled(declared, rng)))
    assert body
    return model


def _filled(declared: str, rng: np.random.Generator) -> str:
    """Declarations with values."""
    parts = []
    for word in declared.replace("\n", " ").split(", "):
        kind, name = word.split()
        shape = [int(n) for n in kind.removeprefix("float[").removesuffix("]").split(",")]
        scale = 2 / np.sqrt(np.prod(shape[1:]) if len(shape) > 2 else shape[0])
        values = rng.normal(0, scale, shape)
        if name == "w4":
            values *= 3
        text = ", ".join(f"{value:.6g}" for value in values.reshape(-1))
        parts.append(f"{kind} {name} = {{{text}}}")
    return "\n<" + ", ".join(parts) + ">"


def with_zeros(
    model: ir.Model, share: float = 0.5, names: tuple[str, ...] = ("w2", "w3")
) -> ir.Model:
    """A clone with the smallest weights zeroed."""
    clone = model.clone()
    for name in names:
        value = clone.graph.initializers[name]
        weight = constant(value)
        assert weight is not None
        limit = np.quantile(np.abs(weight), share)
        rewrite_constant(value, np.where(np.abs(weight) < limit, 0, weight).astype(np.float32))
    return clone


def without_weights(model: ir.Model) -> str:
    """A hash of the graph alone."""
    clone = model.clone()
    for value in clone.graph.initializers.values():
        weight = constant(value)
        assert weight is not None
        if weight.dtype.kind == "f":
            rewrite_constant(value, np.zeros_like(weight))
    return store.structural_hash(clone)


def weights(model: ir.Model) -> dict[str, np.ndarray]:
    """All initializers by name."""
    found = {name: constant(value) for name, value in model.graph.initializers.items()}
    return {name: array for name, array in found.items() if array is not None}


def samples(count: int = 64, *, labels: bool = False, seed: int = 1) -> SourceDataset:
    """Random pictures, each a source item of its own."""
    rng = np.random.default_rng(seed)
    return in_memory(
        Sample(
            {"x": _picture(rng)},
            int(rng.integers(3)) if labels else None,
            str(index),
        )
        for index in range(count)
    )


def _picture(rng: np.random.Generator) -> np.ndarray:
    """Noise of its own strength on a shade of its own, so that answers differ."""
    noise = rng.normal(0, 1, (1, 1, 6, 6)) * rng.uniform(0, 2)
    return np.asarray(noise + rng.normal(0, 1), np.float32)
