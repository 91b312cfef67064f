"""Patterns of sequences ``[N, T, D]`` and of rows ``[N, D]`` for random models."""

from __future__ import annotations

import numpy as np
from random_graphs import Builder, Dim, Value
from random_images import batch_norm
from random_pointwise import activation, affine


def conv_1d(b: Builder, x: Value) -> Value:
    channels = int(x.shape[1])
    kernel = b.rng.choice([1, 3])
    y = b.op("Conv", x, b.weight(channels, channels, kernel), pads=[kernel // 2] * 2)
    return b.rng.choice([affine, batch_norm, activation])(b, y)


def linear(b: Builder, x: Value) -> Value:
    size, out = int(x.shape[-1]), b.rng.choice([4, 8, int(x.shape[-1])])
    shape = [*x.shape[:-1], out]
    weight = b.hold(b.numbers.standard_normal((size, out)) / np.sqrt(size))
    if x.rank == 2 and b.flag():
        bias = [b.vector(out)] if b.flag() else []
        alpha = 0.5 if b.flag(0.1) else None
        y = b.op("Gemm", x, weight, *bias, alpha=alpha, shape=shape)
    else:
        y = b.op("MatMul", x, weight, shape=shape)
        y = b.op("Add", *b.rng.sample([y, b.vector(out)], 2), shape=shape) if b.flag(0.6) else y
    y = affine(b, y) if b.flag(0.4) else y
    return linear(b, y) if b.flag(0.3) else y


def attention(b: Builder, x: Value) -> Value:
    """Heads, scores, softmax, with the scale before or behind."""
    time, width, heads = int(x.shape[1]), int(x.shape[2]), 2
    if width % heads:
        return linear(b, x)

    def project(order: list[int], shape: list[Dim]) -> Value:
        weight = b.hold(b.numbers.standard_normal((width, width)) / np.sqrt(width))
        y = b.op("MatMul", x, weight)
        y = b.op("Add", y, b.vector(width)) if b.flag() else y
        y = b.op(
            "Reshape",
            y,
            b.ints(0, time, heads, -1),
            shape=[x.shape[0], time, heads, width // heads],
        )
        return b.op("Transpose", y, perm=order, shape=shape)

    q = project([0, 2, 1, 3], [x.shape[0], heads, time, width // heads])
    k = project([0, 2, 3, 1], [x.shape[0], heads, width // heads, time])
    v = project([0, 2, 1, 3], [x.shape[0], heads, time, width // heads])
    before = b.flag(0.3)
    q = b.op("Mul", q, b.number(0.5)) if before else q
    scores = b.op("MatMul", q, k, shape=[x.shape[0], heads, time, time])
    scores = scores if before else b.op("Div", scores, b.number(2.0))
    if b.flag(0.3):
        scores = b.op("Add", scores, b.hold(b.numbers.choice([0.0, -10.0], (1, 1, time, time))))
    weights = b.op("Softmax", scores, axis=3)
    y = b.op("MatMul", weights, v, shape=v.shape)
    y = b.op("Transpose", y, perm=[0, 2, 1, 3], shape=[x.shape[0], time, heads, width // heads])
    return b.op("Reshape", y, b.ints(0, time, width), shape=x.shape)


def cells(b: Builder, x: Value) -> Value:
    """A few steps of a gated cell over the positions of a sequence."""
    steps, width = min(3, int(x.shape[1])), int(x.shape[2])
    hidden = 3
    wx = b.hold(b.numbers.standard_normal((width, 3 * hidden)) / np.sqrt(width))
    wh = b.hold(b.numbers.standard_normal((hidden, 3 * hidden)) / np.sqrt(hidden))
    bias = b.vector(3 * hidden)
    h = b.op(
        "MatMul", picked(b, x, 0), b.hold(np.zeros((width, hidden))), shape=[x.shape[0], hidden]
    )
    for step in range(steps):
        left = b.op("Add", b.op("MatMul", picked(b, x, step), wx, shape=[x.shape[0], 9]), bias)
        total = b.op("Add", left, b.op("MatMul", h, wh, shape=[x.shape[0], 9]))
        parts = [
            b.op("Slice", total, b.ints(3 * k), b.ints(3 * k + 3), b.ints(1), shape=h.shape)
            for k in range(3)
        ]
        z, n = b.op("Sigmoid", parts[0]), b.op("Tanh", parts[1])
        h = b.op(
            "Add", b.op("Mul", z, h), b.op("Mul", b.op("Sub", b.hold(1.0), z, shape=z.shape), n)
        )
    return h


def picked(b: Builder, x: Value, index: int) -> Value:
    return b.op("Gather", x, b.hold(index, np.int64), axis=1, shape=[x.shape[0], x.shape[2]])
