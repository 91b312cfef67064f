"""Patterns of images ``[N, C, H, W]`` for random models."""

from __future__ import annotations

from random_graphs import Builder, Value
from random_pointwise import activation, affine, hard_swish, reduce


def conv(b: Builder, x: Value) -> Value:
    channels = x.shape[1]
    assert isinstance(channels, int)
    out, kernel = b.rng.choice([channels, channels, 4, 8]), b.rng.choice([1, 1, 3, 2])
    group = channels if b.flag(0.2) else 1
    out = channels if group > 1 else out
    pad = kernel // 2 if b.flag(0.8) else 0
    sizes = [int(size) + 2 * pad - kernel + 1 for size in x.shape[2:]]
    if min(sizes) < 1:
        return activation(b, x)
    weight = b.weight(out, channels // group, kernel, kernel)
    bias = [b.vector(out)] if b.flag() else []
    pads = [pad] * 4 if pad or b.flag(0.3) else None
    y = b.op("Conv", x, weight, *bias, group=group, pads=pads, shape=[x.shape[0], out, *sizes])
    if b.flag(0.5):
        y = b.rng.choice([affine, batch_norm, activation, affine, hard_swish])(b, y)
    return conv(b, y) if b.flag(0.3) else y


def conv_transpose(b: Builder, x: Value) -> Value:
    channels, stride = int(x.shape[1]), 2
    if int(x.shape[2]) > 8:
        return conv(b, x)
    kernel = b.rng.choice([2, 2, 3, 4])
    sizes = [(int(size) - 1) * stride + kernel for size in x.shape[2:]]
    weight = b.weight(channels, 4, kernel, kernel)
    bias = [b.vector(4)] if b.flag() else []
    y = b.op("ConvTranspose", x, weight, *bias, strides=[2, 2], shape=[x.shape[0], 4, *sizes])
    return b.rng.choice([affine, batch_norm, activation])(b, y)


def batch_norm(b: Builder, x: Value) -> Value:
    size = x.shape[1]
    if not isinstance(size, int):
        return affine(b, x)
    parameters = [b.vector(size), b.vector(size), b.vector(size), b.vector(size, positive=True)]
    return b.op("BatchNormalization", x, *parameters)


def upsampled(b: Builder, x: Value) -> Value:
    if int(x.shape[2]) > 8:
        return conv(b, x)
    scales = b.hold([1.0, 1.0, 2.0, 2.0])
    sizes = [int(size) * 2 for size in x.shape[2:]]
    y = b.op(
        "Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
        nearest_mode="floor", shape=[*x.shape[:2], *sizes],
    )  # fmt: skip
    return conv(b, y)


def padded(b: Builder, x: Value) -> Value:
    pad, right = b.rng.choice([0, 1]), b.rng.choice([0, 1])
    value = [b.hold(0.0)] if b.flag() else []
    shape = [*x.shape[:2], int(x.shape[2]) + 2 * pad, int(x.shape[3]) + pad + right]
    y = b.op("Pad", x, b.ints(0, 0, pad, pad, 0, 0, pad, right), *value, shape=shape)
    return b.rng.choice([conv, pooled, activation])(b, y)


def pooled(b: Builder, x: Value) -> Value:
    if min(int(size) for size in x.shape[2:]) < 3:
        return activation(b, x)
    op = b.rng.choice(["MaxPool", "AveragePool"])
    shape = [*x.shape[:2], *(int(size) - 1 for size in x.shape[2:])]
    count = b.rng.choice([0, 1]) if op == "AveragePool" else None
    return b.op(op, x, kernel_shape=[2, 2], count_include_pad=count, shape=shape)


def gate(b: Builder, x: Value) -> Value:
    """Squeeze and excitation, plain or with a residual."""
    channels = int(x.shape[1])
    mean = (
        b.op("GlobalAveragePool", x, shape=[*x.shape[:2], 1, 1])
        if b.flag()
        else reduce(b, "ReduceMean", x, [2, 3])
    )
    hidden = b.op(
        "Relu", b.op("Conv", mean, b.weight(2, channels, 1, 1), shape=[x.shape[0], 2, 1, 1])
    )
    weights = b.weight(channels, 2, 1, 1)
    back = b.op("Conv", hidden, weights, b.vector(channels), shape=mean.shape)
    gate = b.op(b.rng.choice(["Sigmoid", "HardSigmoid"]), back)
    product = b.op("Mul", *b.rng.sample([x, gate], 2), shape=x.shape)
    return b.op("Add", *b.rng.sample([x, product], 2)) if b.flag() else product


def branches(b: Builder, x: Value) -> Value:
    """Parallel Convs of one input, added up, perhaps with the input itself."""
    channels = int(x.shape[1])
    parts: list[Value] = []
    for kernel in b.rng.choice([(1, 3), (3, 3), (1, 1), (1, 3, 3)]):
        bias = [b.vector(channels)] if b.flag() else []
        weight = b.weight(channels, channels, kernel, kernel)
        y = b.op("Conv", x, weight, *bias, pads=[kernel // 2] * 4, shape=x.shape)
        parts.append(batch_norm(b, y) if b.flag(0.3) else y)
    parts += [x] if b.flag(0.3) else []
    total = parts[0]
    for part in parts[1:]:
        total = b.op("Add", total, part)
    return activation(b, total)


def joined_maps(b: Builder, x: Value) -> Value:
    others = [
        v
        for v in b.values
        if v.rank == 4 and v.shape[2:] == x.shape[2:] and v.shape[0] == x.shape[0]
    ]
    other = b.rng.choice(others)
    joined = b.op(
        "Concat",
        x,
        other,
        axis=1,
        shape=[x.shape[0], int(x.shape[1]) + int(other.shape[1]), *x.shape[2:]],
    )
    return b.rng.choice([conv, affine, batch_norm])(b, joined)


def pooled_away(b: Builder, x: Value) -> Value:
    shape = x.shape[:2]
    if b.flag():
        y = b.op("GlobalAveragePool", x, shape=[*shape, 1, 1])
        return b.op("Flatten", y, axis=1, shape=shape)
    y = reduce(b, "ReduceMean", x, [2, 3])
    return b.op("Reshape", y, b.ints(0, -1), shape=shape)


def to_sequence(b: Builder, x: Value) -> Value:
    size = int(x.shape[2]) * int(x.shape[3])
    y = b.op("Reshape", x, b.ints(0, 0, -1), shape=[*x.shape[:2], size])
    return b.op("Transpose", y, perm=[0, 2, 1], shape=[x.shape[0], size, x.shape[1]])
