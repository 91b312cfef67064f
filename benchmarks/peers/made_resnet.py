"""ResNet-50 for 224 x 224 images, BatchNormalization folded, with made-up weights: 4.1 GMAC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from peers.building import Builder

_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
_GROWTH, _CLASSES, _SIDE = 4, 1000, 224
_BRANCH = 0.2  # keeps sixteen residual sums in range


def write(path: Path) -> Path:
    """Write the model."""
    build = Builder()
    x = build.op("Relu", _conv(build, "image", (3, 64), 7, 2))
    x = build.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for blocks, width, stride in _STAGES:
        for block in range(blocks):
            x = _bottleneck(build, x, (channels, width), 1 if block else stride)
            channels = width * _GROWTH
    x = build.op("Flatten", build.op("GlobalAveragePool", x))
    weight = build.weight(channels, _CLASSES, scale=channels**-0.5)
    build.op("Gemm", x, weight, build.weight(_CLASSES, scale=0.1))
    model = build.model(
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, _SIDE, _SIDE])],
        [],
    )
    last = model.graph.node[-1].output[0]
    scores = helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, _CLASSES])
    model.graph.output.append(scores)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def image(seed: int) -> Any:
    """A made-up image: smooth patches with noise, normalized."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((1, 3, 14, 14)).repeat(16, axis=2).repeat(16, axis=3)
    return (coarse + 0.3 * rng.standard_normal((1, 3, _SIDE, _SIDE))).astype(np.float32)


def _bottleneck(build: Builder, x: str, channels: tuple[int, int], stride: int) -> str:
    outer, width = channels[0], channels[1]
    y = build.op("Relu", _conv(build, x, (outer, width), 1, 1))
    y = build.op("Relu", _conv(build, y, (width, width), 3, stride))
    y = _conv(build, y, (width, width * _GROWTH), 1, 1, gain=_BRANCH)
    if stride != 1 or outer != width * _GROWTH:
        x = _conv(build, x, (outer, width * _GROWTH), 1, stride)
    return build.op("Relu", build.op("Add", x, y))


def _conv(
    build: Builder, x: str, channels: tuple[int, int], side: int, stride: int, gain: float = 1.0
) -> str:
    of, to = channels
    weight = build.weight(to, of, side, side, scale=gain * (2 / (of * side * side)) ** 0.5)
    pads, shape = [side // 2] * 4, [side, side]
    bias = build.weight(to, scale=0.1)
    return build.op("Conv", x, weight, bias, kernel_shape=shape, pads=pads, strides=[stride] * 2)
