"""Shapes of results that depend on the contents of inputs, which onnx's inference gives up on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt_passes.simplify._attributes import axes_of, ints_of
from onnxopt_passes.simplify._contents import Known, elements, slice_bounds
from onnxopt_passes.simplify._expression import (
    Expression,
    Number,
    add,
    at_most,
    divide_exactly,
    is_cut,
    is_size,
    multiply,
    negate,
    opaque,
    product,
)

_BROADCASTS_SINCE = 7

Sizes = tuple[Number | None, ...]
Rule = Callable[[ir.Node, int, Known], Sizes | None]


def reshaped(
    source: Sequence[Number | None] | None, target: Sequence[Any], *, allow_zero: bool
) -> Sizes:
    """The shape that Reshape gives to a tensor; None for sizes that are not known.

    Args:
        source: The sizes of the input.
        target: The elements of the requested shape.
        allow_zero: Whether 0 means 0, not the size of the input's axis.
    """
    result: list[Number | None] = []
    for place, wanted in enumerate(target):
        if isinstance(wanted, int) and wanted == 0 and not allow_zero:
            known = source is not None and place < len(source)
            result.append(source[place] if known and source is not None else None)
        elif wanted is None or wanted == -1 or not is_size(wanted):
            result.append(None)
        else:
            result.append(wanted)
    unknown = [place for place, size in enumerate(result) if size is None]
    if len(unknown) == 1 and source is not None:
        result[unknown[0]] = _rest(source, [size for size in result if size is not None])
    return tuple(result)


def _rest(source: Sequence[Number | None], others: Sequence[Number]) -> Number | None:
    """The one size that makes up the number of elements; of an empty tensor it means nothing."""
    sizes = [size for size in source if size is not None]
    total, taken = product(sizes), product(others)
    if len(sizes) < len(source) or total is None or taken is None or taken == 0:
        return None
    return divide_exactly(total, taken)


def _reshape(node: ir.Node, version: int, known: Known) -> Sizes | None:
    if version < 5 or len(node.inputs) < 2:
        return None
    target = elements(known.content(node.inputs[1]))
    if target is None:
        return None
    allow_zero = bool(edit.attribute(node, "allowzero", 0))
    return reshaped(known.shape(node.inputs[0]), target, allow_zero=allow_zero)


def _constant_of_shape(node: ir.Node, version: int, known: Known) -> Sizes | None:
    sizes = elements(known.content(node.inputs[0]))
    return None if sizes is None else tuple(sizes)


def broadcast(a: Sequence[Number | None], b: Sequence[Number | None]) -> Sizes:
    """The shape that two shapes broadcast to; None for sizes that are not known."""
    rank = max(len(a), len(b))
    left = (1,) * (rank - len(a)) + tuple(a)
    right = (1,) * (rank - len(b)) + tuple(b)
    return tuple(_wider(x, y) for x, y in zip(left, right, strict=True))


def _wider(a: Number | None, b: Number | None) -> Number | None:
    if a == b or b == 1:
        return a
    if a == 1:
        return b
    for one, other in ((a, b), (b, a)):
        if one is not None and other is not None and is_cut(one, other):
            return other  # a shorter one, which is not 1, would not broadcast at all
    for one, other in ((a, b), (b, a)):
        if isinstance(one, int) and (isinstance(other, Expression) or other is None):
            return one  # the other is 1 or the same
    return None


def _expand(node: ir.Node, version: int, known: Known) -> Sizes | None:
    source, target = known.shape(node.inputs[0]), elements(known.content(node.inputs[1]))
    if source is None or target is None:
        return None
    return broadcast(source, [x if x is not None and is_size(x) else None for x in target])


def _elementwise(node: ir.Node, version: int, known: Known) -> Sizes | None:
    if version < _BROADCASTS_SINCE:
        return None
    shapes = [known.shape(value) for value in node.inputs]
    total: Sizes = ()
    for shape in shapes:
        if shape is None:
            return None
        total = broadcast(total, shape)
    return total


def _same(node: ir.Node, version: int, known: Known) -> Sizes | None:
    return known.shape(node.inputs[0])


def _slice(node: ir.Node, version: int, known: Known) -> Sizes | None:
    source = known.shape(node.inputs[0])
    bounds = None if source is None else slice_bounds(node, version, len(source))
    if source is not None and bounds is None:
        return _cut_off(node, version, source, known)
    if source is None or bounds is None:
        return None
    result: list[Number | None] = list(source)
    for axis, start, end, step in bounds:
        result[axis] = _length(source[axis], start, end, step)
    return tuple(result)


def _cut_off(node: ir.Node, version: int, source: Sequence[Number], known: Known) -> Sizes | None:
    """The first so many, where how many is a size: ``table[:S]``."""
    if version < 10 or len(node.inputs) < 4:
        return None
    starts, ends, axes = (elements(known.content(value)) for value in node.inputs[1:4])
    steps = [1] if len(node.inputs) < 5 else elements(known.content(node.inputs[4]))
    if starts != [0] or steps != [1] or ends is None or axes is None or len(axes) != 1:
        return None
    axis, end = axes[0], ends[0]
    if not isinstance(axis, int) or not -len(source) <= axis < len(source):
        return None
    size = source[axis]
    if end is None or not is_size(end) or not isinstance(size, int):
        return None
    result: list[Number | None] = list(source)
    result[axis] = at_most(size, end)
    return tuple(result)


def _length(size: Number, start: int, end: int, step: int) -> Number | None:
    if isinstance(size, int):
        return len(range(size)[start:end:step])
    if step == 1 and start == 0 and end < 0:
        return opaque("less", size, -end, signed=False)
    everything = start == 0 and end >= (1 << 31) - 1 and step == 1
    return size if everything else None


def _concat(node: ir.Node, version: int, known: Known) -> Sizes | None:
    shapes = [known.shape(value) for value in node.inputs]
    axis = edit.attribute(node, "axis", 1)
    if not isinstance(axis, int) or any(shape is None for shape in shapes):
        return None
    full = [shape for shape in shapes if shape is not None]
    rank = len(full[0])
    if any(len(shape) != rank for shape in full) or not -rank <= axis < rank:
        return None
    total: Number | None = 0
    for shape in full:
        total = None if total is None else add(total, shape[axis])
    result: list[Number | None] = [None] * rank
    for place in range(rank):
        numbers = {shape[place] for shape in full}
        fixed = [x for x in numbers if isinstance(x, int)]
        result[place] = numbers.pop() if len(numbers) == 1 else fixed[0] if fixed else None
    result[axis % rank] = total
    return tuple(result)


def _window(node: ir.Node, version: int, known: Known) -> Sizes | None:
    """Conv and pooling with explicit padding, over symbolic sizes."""
    source = known.shape(node.inputs[0])
    kernel = _kernel(node, known)
    automatic = edit.attribute(node, "auto_pad", "NOTSET") != "NOTSET"
    if source is None or kernel is None or automatic or edit.attribute(node, "ceil_mode", 0):
        return None
    axes = len(source) - 2
    pads = ints_of(node, "pads") or [0] * 2 * axes
    strides = ints_of(node, "strides") or [1] * axes
    dilations = ints_of(node, "dilations") or [1] * axes
    if len(kernel) != axes or len(pads) != 2 * axes or {len(strides), len(dilations)} != {axes}:
        return None
    result: list[Number | None] = [source[0], None]
    for i, size in enumerate(source[2:]):
        reach = pads[i] + pads[i + axes] - dilations[i] * (kernel[i] - 1) - 1
        result.append(_steps(size, reach, strides[i]))
    result[1] = _channels(node, known, source)
    return tuple(result)


def _steps(size: Number, reach: int, stride: int) -> Number | None:
    """How often a window fits: (size + reach) / stride + 1, which is a size again."""
    if isinstance(size, int):
        return (size + reach) // stride + 1
    if stride == 1 and reach >= -1:
        return add(size, reach + 1)
    return opaque("window", size, reach, stride, signed=False)


def _kernel(node: ir.Node, known: Known) -> list[int] | None:
    if node.op_type != "Conv":
        return ints_of(node, "kernel_shape")
    weight = known.shape(node.inputs[1])
    if weight is None:
        return None
    sizes = [x for x in weight[2:] if isinstance(x, int)]
    return sizes if len(sizes) == len(weight) - 2 else None


def _channels(node: ir.Node, known: Known, source: Sequence[Number]) -> Number | None:
    if node.op_type != "Conv":
        return source[1]
    weight = known.shape(node.inputs[1])
    return None if weight is None else weight[0]


def _transpose(node: ir.Node, version: int, known: Known) -> Sizes | None:
    source, perm = known.shape(node.inputs[0]), ints_of(node, "perm")
    if source is None:
        return None
    perm = list(range(len(source)))[::-1] if perm is None else perm
    return tuple(source[axis] for axis in perm) if len(perm) == len(source) else None


def _unsqueeze(node: ir.Node, version: int, known: Known) -> Sizes | None:
    source, axes = known.shape(node.inputs[0]), axes_of(node, version, since=13)
    if source is None or axes is None:
        return None
    rank = len(source) + len(axes)
    places = {axis % rank for axis in axes}
    sizes = iter(source)
    return tuple(1 if i in places else next(sizes, None) for i in range(rank))


def _squeeze(node: ir.Node, version: int, known: Known) -> Sizes | None:
    source, axes = known.shape(node.inputs[0]), axes_of(node, version, since=13)
    if source is None or axes is None:
        return None
    places = {axis % len(source) for axis in axes} if source else set()
    return tuple(size for i, size in enumerate(source) if i not in places)


def _product(node: ir.Node, version: int, known: Known) -> Sizes | None:
    """MatMul: the last two axes multiply, the others broadcast."""
    left, right = known.shape(node.inputs[0]), known.shape(node.inputs[1])
    if left is None or right is None or min(len(left), len(right)) < 2:
        return None
    return (*broadcast(left[:-2], right[:-2]), left[-2], right[-1])


def _affine(node: ir.Node, version: int, known: Known) -> Sizes | None:
    left, right = known.shape(node.inputs[0]), known.shape(node.inputs[1])
    if left is None or right is None or not len(left) == len(right) == 2:
        return None
    turned, other = (bool(edit.attribute(node, name, 0)) for name in ("transA", "transB"))
    return (left[1 if turned else 0], right[0 if other else 1])


def _gather(node: ir.Node, version: int, known: Known) -> Sizes | None:
    source, indices = known.shape(node.inputs[0]), known.shape(node.inputs[1])
    axis = edit.attribute(node, "axis", 0)
    if source is None or indices is None or not isinstance(axis, int):
        return None
    if not -len(source) <= axis < len(source):
        return None
    place = axis % len(source)
    return (*source[:place], *indices, *source[place + 1 :])


def _quantized_lstm(node: ir.Node, version: int, known: Known) -> Sizes | None:
    """[steps, directions, batch, hidden], from the input and the recurrent weights."""
    source, weight = known.shape(node.inputs[0]), known.shape(node.inputs[2])
    if source is None or weight is None or len(source) != 3 or len(weight) != 3:
        return None
    return (source[0], weight[0], source[1], weight[1])


def _range(node: ir.Node, version: int, known: Known) -> Sizes | None:
    """Numbers in steps of 1: as many as lie between start and limit."""
    start, limit, step = (elements(known.content(value)) for value in node.inputs)
    if start is None or limit is None or step != [1] or start == [None] or limit == [None]:
        return None
    below = negate(start[0])
    count = None if below is None else add(limit[0], below)
    return (count if count is not None and is_size(count) else None,)


def _tile(node: ir.Node, version: int, known: Known) -> Sizes | None:
    source, times = known.shape(node.inputs[0]), elements(known.content(node.inputs[1]))
    if version < 6 or source is None or times is None or len(times) != len(source):
        return None
    pairs = zip(source, times, strict=True)
    return tuple(None if by is None else multiply(size, by) for size, by in pairs)


def _like_indices(node: ir.Node, version: int, known: Known) -> Sizes | None:
    return known.shape(node.inputs[1])


_ELEMENTWISE = (
    "Add",
    "And",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "Sub",
    "Sum",
    "Where",
    "Xor",
)
_UNARY = (
    "Abs",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Clip",
    "Cos",
    "CumSum",
    "DequantizeLinear",
    "Dropout",
    "DynamicQuantizeLinear",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "Neg",
    "Not",
    "QuantizeLinear",
    "Reciprocal",
    "Relu",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softmax",
    "Softplus",
    "Sqrt",
    "Tanh",
    "Trilu",
)

RESULT_SHAPES: Mapping[str, Mapping[str, Rule]] = MappingProxyType(
    {
        "": MappingProxyType(
            {
                **dict.fromkeys(_ELEMENTWISE, _elementwise),
                **dict.fromkeys(_UNARY, _same),
                "AveragePool": _window,
                "Concat": _concat,
                "ConstantOfShape": _constant_of_shape,
                "Conv": _window,
                "Expand": _expand,
                "Gather": _gather,
                "GatherElements": _like_indices,
                "Gemm": _affine,
                "MatMul": _product,
                "MatMulInteger": _product,
                "MaxPool": _window,
                "Range": _range,
                "Reshape": _reshape,
                "Slice": _slice,
                "Squeeze": _squeeze,
                "Tile": _tile,
                "Transpose": _transpose,
                "Unsqueeze": _unsqueeze,
            }
        ),
        "com.microsoft": MappingProxyType({"DynamicQuantizeLSTM": _quantized_lstm}),
    }
)
"""Domain → op → how the shape of its first output follows from what is known of its inputs."""
