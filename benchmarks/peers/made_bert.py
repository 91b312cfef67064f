"""A BERT of six layers as an exporter spells it, with made-up weights: about 265 MB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from peers.building import Builder

_LAYERS, _WIDTH, _HEADS, _INNER, _WORDS, _LENGTH = 6, 768, 12, 3072, 30522, 512
_EPSILON = 1e-12


def write(path: Path, layers: int = _LAYERS, words: int = _WORDS) -> Path:
    """Write the model."""
    build = Builder()
    x = _embedded(build, words)
    for _ in range(layers):
        x = _normalized(build, build.op("Add", _attention(build, x), x))
        x = _normalized(build, build.op("Add", _inner(build, x), x))
    build.op("Identity", x)
    model = build.model(
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])], []
    )
    last = model.graph.node[-1].output[0]
    shape: list[str | int | None] = ["batch", "length", _WIDTH]
    model.graph.output.append(helper.make_tensor_value_info(last, TensorProto.FLOAT, shape))
    onnx.save(model, path)
    return path


def _embedded(build: Builder, words: int) -> str:
    x = build.op("Gather", build.weight(words, _WIDTH, scale=0.02), "ids")
    length = build.op("Gather", build.op("Shape", "ids"), build.constant(1, np.int64), axis=0)
    end = build.op("Unsqueeze", length, build.constant([0], np.int64))
    starts, axes = build.constant([0], np.int64), build.constant([1], np.int64)
    every = build.constant(np.arange(_LENGTH)[None], np.int64)
    positions = build.op("Slice", every, starts, end, axes)
    places = build.op("Gather", build.weight(_LENGTH, _WIDTH, scale=0.02), positions)
    return _normalized(build, build.op("Add", x, places))


def _attention(build: Builder, x: str) -> str:
    query, key, value = (_heads(build, _linear(build, x, _WIDTH, _WIDTH)) for _ in range(3))
    scores = build.op("MatMul", query, build.op("Transpose", key, perm=[0, 1, 3, 2]))
    scores = build.op("Div", scores, build.constant((_WIDTH // _HEADS) ** 0.5))
    mixed = build.op("MatMul", build.op("Softmax", scores, axis=-1), value)
    mixed = build.op("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = build.op("Reshape", mixed, build.constant([0, 0, _WIDTH], np.int64))
    return _linear(build, mixed, _WIDTH, _WIDTH)


def _heads(build: Builder, x: str) -> str:
    shape = build.constant([0, 0, _HEADS, _WIDTH // _HEADS], np.int64)
    return build.op("Transpose", build.op("Reshape", x, shape), perm=[0, 2, 1, 3])


def _inner(build: Builder, x: str) -> str:
    """Linear, GELU by Erf, linear."""
    x = _linear(build, x, _WIDTH, _INNER)
    erf = build.op("Erf", build.op("Div", x, build.constant(2**0.5)))
    gelu = build.op("Mul", x, build.op("Add", erf, build.constant(1.0)))
    return _linear(build, build.op("Mul", gelu, build.constant(0.5)), _INNER, _WIDTH)


def _linear(build: Builder, x: str, of: int, to: int) -> str:
    product = build.op("MatMul", x, build.weight(of, to, scale=0.02))
    return build.op("Add", build.weight(to, scale=0.02), product)


def _normalized(build: Builder, x: str) -> str:
    """LayerNormalization in pieces, as exporters wrote it before opset 17."""
    centred = build.op("Sub", x, build.op("ReduceMean", x, axes=[-1]))
    squared = build.op("Pow", centred, build.constant(2.0))
    variance = build.op("ReduceMean", squared, axes=[-1])
    spread = build.op("Sqrt", build.op("Add", variance, build.constant(_EPSILON)))
    scaled = build.op("Mul", build.op("Div", centred, spread), build.constant(np.ones(_WIDTH)))
    return build.op("Add", scaled, build.constant(np.zeros(_WIDTH)))
