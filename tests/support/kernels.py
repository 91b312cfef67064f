"""Which kernels ONNX Runtime picks, and how far a rewritten model is from the original."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir

from onnxopt import store
from onnxopt.data import synthesize
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.signature import signature_of

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '


def kernels(model: ir.Model, folder: Path) -> Counter[str]:
    """Op types of the graph as ONNX Runtime runs it, ``domain:`` before those of others."""
    path = folder / "optimized.onnx"
    with open_session(model, SessionConfig(optimized_model_path=path)):
        pass
    nodes = ir.load(path).graph
    return Counter(f"{node.domain}:{node.op_type}".removeprefix(":") for node in nodes)


def relative_error(before: ir.Model, after: ir.Model, *, samples: int = 8) -> float:
    """Relative L2 error of all float outputs over random inputs, under full optimisation."""
    data = list(synthesize(signature_of(before), dims={}, seed=0, samples=samples))
    with open_session(before) as a, open_session(after) as b:
        pairs = [(a.run(sample.feeds), b.run(sample.feeds)) for sample in data]
    wanted = [_floats(run) for run, _ in pairs]
    found = [_floats(run) for _, run in pairs]
    reference = np.concatenate(wanted)
    return float(np.linalg.norm(np.concatenate(found) - reference) / np.linalg.norm(reference))


def with_weights(text: str, head: str = HEAD, **shapes: tuple[int, ...]) -> ir.Model:
    """A model from ``(inputs) => (outputs) { body }`` with random weights of these shapes.

    They are normal numbers over the square root of the last axis.
    """
    generator = np.random.default_rng(0)
    proto = onnx.parser.parse_model(f"{head} {text}")
    for name, dims in shapes.items():
        array = generator.standard_normal(dims) / np.sqrt(dims[-1])
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    return store.load(proto)


def _floats(run: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate(
        [np.asarray(v, np.float64).ravel() for v in run.values() if v.dtype.kind == "f"]
    )
