"""Patterns that keep the shape, of any rank, for random models; near misses included."""

from __future__ import annotations

import numpy as np
from random_graphs import Builder, Value

AXES_ARE_INPUT, SQUEEZE_AXES_ARE_INPUT = 18, 13


def activation(b: Builder, x: Value) -> Value:
    op = b.rng.choice(["Relu", "Sigmoid", "Tanh", "LeakyRelu", "Neg", "HardSigmoid", "Elu", "Clip"])
    if op == "Clip":
        return b.op("Clip", x, b.hold(b.rng.choice([0.0, -1.0])), b.hold(b.rng.choice([6.0, 1.0])))
    return b.op(op, x)


def affine(b: Builder, x: Value) -> Value:
    """Scalars or vectors along some axis, a few in a row."""
    for _ in range(b.rng.choice([1, 1, 2, 3])):
        op = b.rng.choice(["Add", "Mul", "Sub", "Div"])
        operands = [x, operand(b, x)]
        if b.flag(0.4) and op != "Div":
            operands.reverse()
        x = b.op(op, *operands, shape=x.shape)
    return x


def operand(b: Builder, x: Value) -> str:
    kind = b.rng.choice(["number", "number", "channel", "last", "full"])
    sizes = [size for size in x.shape if isinstance(size, int)]
    if kind == "channel" and x.rank > 2 and isinstance(x.shape[1], int):
        return b.vector(x.shape[1], *[1] * (x.rank - 2))
    if kind == "last" and isinstance(x.shape[-1], int):
        return b.vector(x.shape[-1])
    if kind == "full" and len(sizes) == x.rank - 1 and x.rank > 1:
        return b.hold(b.numbers.uniform(0.5, 1.5, sizes))
    return b.number()


def noop(b: Builder, x: Value) -> Value:
    kind = b.rng.randrange(9)
    if kind == 0:
        return b.op("Identity", x)
    if kind == 1:
        return b.op("Dropout", x)
    if kind == 2:
        return b.op("Mul", x, b.hold(1.0))
    if kind == 3:
        return b.op("Add", x, b.hold(0.0))
    if kind == 4:
        return b.op("Transpose", x, perm=list(range(x.rank)))
    if kind == 5:
        return b.op("Concat", x, axis=b.rng.randrange(x.rank))
    if kind == 6:
        return b.op("Cast", b.op("Cast", x, to=11), to=1)
    if kind == 7:
        return b.op("Reshape", x, b.ints(*[0] * x.rank))
    return b.op("Slice", x, b.ints(0), b.ints(2**31), b.ints(b.rng.randrange(x.rank)))


def transposed(b: Builder, x: Value) -> Value:
    """Something elementwise between two Transposes that cancel, or nearly."""
    order = list(range(x.rank))
    b.rng.shuffle(order)
    y = b.op("Transpose", x, perm=order, shape=[x.shape[axis] for axis in order])
    for _ in range(b.rng.randrange(3)):
        y = b.rng.choice([activation, square, softmax_last])(b, y)
    back = [order.index(axis) for axis in range(x.rank)]
    if b.flag(0.15):
        return y if y.shape[0] == x.shape[0] else b.op("Transpose", y, perm=back, shape=x.shape)
    return b.op("Transpose", y, perm=back, shape=x.shape)


def square(b: Builder, x: Value) -> Value:
    return b.op("Mul", x, x) if b.flag() else b.op("Abs", x)


def softmax_last(b: Builder, x: Value) -> Value:
    return b.op("Softmax", x, axis=x.rank - 1)


def merge(b: Builder, x: Value) -> Value:
    """A sum, product or gated residual of two values of one shape."""
    others = [value for value in b.values if value.shape == x.shape]
    other = b.rng.choice(others)
    kind = b.rng.choice(["Add", "Mul", "Sub", "Max", "Sum", "gate"])
    if kind == "gate":
        gate = b.op("Sigmoid", other)
        product = b.op("Mul", x, gate)
        return b.op(b.rng.choice(["Add", "Sub"]), *b.rng.sample([x, product], 2))
    return b.op(kind, x, other)


def split_and_join(b: Builder, x: Value) -> Value:
    """Slices or a Split along an axis, joined again, perhaps in another order."""
    axis = b.rng.randrange(1, x.rank)
    size = x.shape[axis]
    assert isinstance(size, int)
    cut = b.rng.randrange(size + 1)
    shapes = [[*x.shape[:axis], part, *x.shape[axis + 1 :]] for part in (cut, size - cut)]
    bounds = [(0, cut), (cut, b.rng.choice([size, 2**31]))]
    parts = [
        b.op("Slice", x, b.ints(low), b.ints(high), b.ints(axis), shape=shape)
        for (low, high), shape in zip(bounds, shapes, strict=True)
    ]
    if b.flag(0.3):
        parts[0] = activation(b, parts[0])
    if b.flag(0.3):
        parts.reverse()
    return b.op("Concat", *parts, axis=axis, shape=x.shape)


def reduced(b: Builder, x: Value) -> Value:
    """A statistic that is broadcast back."""
    axis = b.rng.randrange(1, x.rank)
    op = b.rng.choice(["ReduceMean", "ReduceSum", "ReduceMax"])
    mean = reduce(b, op, x, [axis])
    return b.op(b.rng.choice(["Sub", "Add"]), x, mean)


def reduce(b: Builder, op: str, x: Value, axes: list[int]) -> Value:
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    since = 13 if op == "ReduceSum" else AXES_ARE_INPUT
    if b.opset < since:
        return b.op(op, x, axes=axes, keepdims=1, shape=shape)
    return b.op(op, x, b.ints(*axes), keepdims=1, shape=shape)


def silu(b: Builder, x: Value) -> Value:
    gate = b.rng.choice(["Sigmoid", "HardSigmoid", "Tanh"])
    return b.op("Mul", *b.rng.sample([x, b.op(gate, x)], 2))


def sigmoid(b: Builder, x: Value) -> Value:
    e = b.op("Exp", b.op("Neg", x))
    return b.op("Div", b.hold(1.0), b.op("Add", e, b.number(1.0)), shape=x.shape)


def hard_swish(b: Builder, x: Value) -> Value:
    gate = b.op("Add", x, b.number(3.0))
    low, high = b.rng.choice([(0.0, 6.0), (0.0, 6.0), (0.0, 5.0)])
    if b.flag():
        gate = b.op("Clip", gate, b.hold(low), b.hold(high))
    else:
        gate = b.op("Min", b.op("Relu", gate), b.number(high))
    if b.flag():
        return b.op("Div", b.op("Mul", x, gate), b.number(6.0))
    sixth = b.op("Mul", gate, b.number(1 / 6))
    return b.op("Mul", *b.rng.sample([x, sixth], 2))


def mish(b: Builder, x: Value) -> Value:
    soft = (
        b.op("Softplus", x) if b.flag() else b.op("Log", b.op("Add", b.op("Exp", x), b.hold(1.0)))
    )
    return b.op("Mul", *b.rng.sample([x, b.op("Tanh", soft)], 2))


def gelu(b: Builder, x: Value) -> Value:
    root = np.sqrt(2) if b.flag(0.9) else 1.41
    erf = b.op("Erf", b.op("Div", x, b.number(root)))
    one = b.op("Add", erf, b.number(1.0))
    half = b.number(0.5)
    if b.flag():
        return b.op("Mul", b.op("Mul", x, half), one)
    return b.op("Mul", b.op("Mul", x, one), half)


def normalization(b: Builder, x: Value) -> Value:
    """LayerNormalization, RMSNormalization and the like, written out."""
    axes = [x.rank - 1] if b.flag(0.7) else list(range(x.rank - b.rng.choice([1, 2]), x.rank))
    if 0 in axes:
        axes = [x.rank - 1]
    centered = x
    if b.flag(0.7):
        centered = b.op("Sub", x, reduce(b, "ReduceMean", x, axes))
    power = b.op("Pow", centered, b.hold(2.0)) if b.flag() else b.op("Mul", centered, centered)
    deviation = reduce(b, "ReduceMean", power, axes)
    root = b.op("Sqrt", b.op("Add", deviation, b.number(1e-5, 1e-3)))
    y = b.op("Div", centered, root)
    size = x.shape[-1]
    if b.flag(0.7) and isinstance(size, int):
        y = b.op("Mul", y, b.vector(size))
        y = b.op("Add", y, b.vector(size)) if b.flag(0.7) else y
    return y


def softmax(b: Builder, x: Value) -> Value:
    """Softmax in parts or whole, over any axis."""
    axis = b.rng.randrange(1, x.rank)
    if b.flag(0.3) and (b.opset >= 13 or axis == x.rank - 1):
        return b.op("Softmax", x, axis=axis)
    shifted = b.op("Sub", x, reduce(b, "ReduceMax", x, [axis])) if b.flag(0.8) else x
    e = b.op("Exp", shifted)
    total = reduce(b, "ReduceSum", e, [axis])
    if b.flag(0.2):
        return b.op("Sub", shifted, b.op("Log", total))
    return b.op("Div", e, total)


def l2_norm(b: Builder, x: Value) -> Value:
    axis = b.rng.randrange(1, x.rank)
    norm = reduce(b, "ReduceL2", x, [axis])
    return b.op("Div", x, b.op("Add", norm, b.hold(1e-3)) if b.flag() else norm)


def reshaped(b: Builder, x: Value) -> Value:
    """To another shape by way of computed sizes, and back."""
    tail = int(np.prod(x.shape[1:]))
    (shape,) = b.emit("Shape", [x])
    axis_0 = b.hold(0, np.int64)
    (size,) = b.emit("Gather", [shape, axis_0], axis=0)
    if b.opset >= SQUEEZE_AXES_ARE_INPUT:
        (first,) = b.emit("Unsqueeze", [size, b.ints(0)])
    else:
        (first,) = b.emit("Unsqueeze", [size], axes=[0])
    (target,) = b.emit("Concat", [first, b.ints(tail)], axis=0)
    flat = b.op("Reshape", x, target, shape=[x.shape[0], tail])
    if b.flag():
        flat = b.rng.choice([activation, affine])(b, flat)
    if b.flag(0.3) and tail < 100:
        return flat
    if b.flag():
        return b.op("Reshape", flat, shape, shape=x.shape)
    back = [0 if b.flag() else -1, *(int(size) for size in x.shape[1:])]
    return b.op("Reshape", flat, b.ints(*back), shape=x.shape) if x.shape[0] != 0 else flat


def squeezed(b: Builder, x: Value) -> Value:
    axis = b.rng.randrange(x.rank + 1)
    shape = [*x.shape[:axis], 1, *x.shape[axis:]]
    axes = axis if b.flag() else axis - x.rank - 1
    if b.opset >= SQUEEZE_AXES_ARE_INPUT:
        y = b.op("Unsqueeze", x, b.ints(axes), shape=shape)
        y = activation(b, y) if b.flag(0.4) else y
        return b.op("Squeeze", y, b.ints(axis), shape=x.shape)
    y = b.op("Unsqueeze", x, axes=[axis], shape=shape)
    return b.op("Squeeze", y, axes=[axis], shape=x.shape)
