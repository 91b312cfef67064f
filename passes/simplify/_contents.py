"""Elements of small integer tensors, as numbers or polynomials of symbolic sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt_passes.simplify._attributes import axes_of, ints_of
from onnxopt_passes.simplify._expression import (
    Number,
    add,
    is_positive,
    is_size,
    multiply,
    negate,
    opaque,
    product,
    quotient,
)

Content = npt.NDArray[np.object_]
"""Each element an int, a bool, an Expression, or None where it is not known."""

MAX_ELEMENTS = 64
"""Larger tensors are data, not shapes."""

_INTEGERS = frozenset({ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL})
_INT32_TOP = 1 << 31
_BROADCASTS_SINCE = 7


class Known(Protocol):
    """Where the rules look up what is known of other values."""

    def shape(self, value: ir.Value | None) -> tuple[Number, ...] | None:
        """Sizes of a value's axes."""

    def content(self, value: ir.Value | None) -> Content | None:
        """Elements of a value."""


Rule = Callable[[ir.Node, int, Known], Content | None]


def content_of_constant(value: ir.Value) -> Content | None:
    """The elements of a small constant of integers or truth values."""
    tensor = edit.constant_tensor(value)
    if tensor is None or tensor.dtype not in _INTEGERS or tensor.size > MAX_ELEMENTS:
        return None
    return _boxed(tensor.numpy())


def elements(content: Content | None) -> list[Any] | None:
    """The elements of a vector or scalar in a row."""
    return None if content is None else list(content.reshape(-1))


def _boxed(array: npt.NDArray[Any]) -> Content:
    box = np.empty(array.shape, dtype=object)
    box.reshape(-1)[:] = array.reshape(-1).tolist()
    return box


def _filled(items: list[Any], shape: tuple[int, ...]) -> Content:
    box = np.empty(len(items), dtype=object)
    box[:] = items
    return box.reshape(shape)


def _shape(node: ir.Node, version: int, known: Known) -> Content | None:
    sizes = known.shape(node.inputs[0])
    if sizes is None:
        return None
    start, end = edit.attribute(node, "start", 0), edit.attribute(node, "end", len(sizes))
    if not (isinstance(start, int) and isinstance(end, int)):
        return None
    picked = list(sizes)[start:end]
    return _filled(picked, (len(picked),))


def _size(node: ir.Node, version: int, known: Known) -> Content | None:
    sizes = known.shape(node.inputs[0])
    return None if sizes is None else _filled([product(sizes)], ())


def _same(node: ir.Node, version: int, known: Known) -> Content | None:
    return known.content(node.inputs[0])


def _cast(node: ir.Node, version: int, known: Known) -> Content | None:
    source, to = known.content(node.inputs[0]), edit.attribute(node, "to", 0)
    if source is None or to not in (ir.DataType.INT32, ir.DataType.INT64):
        return None
    numbers = [int(x) if isinstance(x, bool) else x for x in source.reshape(-1)]
    if any(isinstance(x, int) and not -_INT32_TOP <= x < _INT32_TOP for x in numbers):
        return None if to == ir.DataType.INT32 else _filled(numbers, source.shape)
    return _filled(numbers, source.shape)


def _squeeze(node: ir.Node, version: int, known: Known) -> Content | None:
    source, axes = known.content(node.inputs[0]), axes_of(node, version, since=13)
    if source is None or (axes is None and (len(node.inputs) > 1 and node.inputs[1] is not None)):
        return None
    if axes is None:
        return source.reshape([size for size in source.shape if size != 1])
    places = {axis % source.ndim for axis in axes if -source.ndim <= axis < source.ndim}
    if any(source.shape[axis] != 1 for axis in places):
        return None
    return source.reshape([size for i, size in enumerate(source.shape) if i not in places])


def _unsqueeze(node: ir.Node, version: int, known: Known) -> Content | None:
    source, axes = known.content(node.inputs[0]), axes_of(node, version, since=13)
    if source is None or axes is None:
        return None
    rank = source.ndim + len(axes)
    if any(not -rank <= axis < rank for axis in axes):
        return None
    places = {axis % rank for axis in axes}
    sizes = iter(source.shape)
    return source.reshape([1 if i in places else next(sizes) for i in range(rank)])


def _reshape(node: ir.Node, version: int, known: Known) -> Content | None:
    source = known.content(node.inputs[0])
    target = elements(known.content(node.inputs[1])) if len(node.inputs) > 1 else None
    if source is None or target is None or not all(type(x) is int and x for x in target):
        return None
    try:
        return source.reshape(target)
    except ValueError:
        return None


def _concat(node: ir.Node, version: int, known: Known) -> Content | None:
    parts = [known.content(value) for value in node.inputs]
    axis = edit.attribute(node, "axis", 0)
    arrays = [part for part in parts if part is not None]
    if len(arrays) == len(parts) and isinstance(axis, int):
        try:
            joined = np.concatenate(arrays, axis)
        except (ValueError, np.exceptions.AxisError):
            return None
        return joined if joined.size <= MAX_ELEMENTS else None
    return _concat_partly(node, parts, known)


def _concat_partly(node: ir.Node, parts: list[Content | None], known: Known) -> Content | None:
    """A vector some parts of which are unknown, but not how long they are."""
    items: list[Any] = []
    for value, part in zip(node.inputs, parts, strict=True):
        sizes = known.shape(value)
        if part is not None and part.ndim == 1:
            items += list(part)
        elif sizes is not None and len(sizes) == 1 and isinstance(sizes[0], int):
            items += [None] * min(sizes[0], MAX_ELEMENTS + 1)
        else:
            return None
    return _filled(items, (len(items),)) if len(items) <= MAX_ELEMENTS else None


def _gather(node: ir.Node, version: int, known: Known) -> Content | None:
    source, indices = known.content(node.inputs[0]), edit.constant(node.inputs[1])
    axis = edit.attribute(node, "axis", 0)
    if source is None or indices is None or not isinstance(axis, int) or source.ndim == 0:
        return None
    if not -source.ndim <= axis < source.ndim or indices.size > MAX_ELEMENTS:
        return None
    size = source.shape[axis]
    if not bool(((indices >= -size) & (indices < size)).all()):
        return None
    taken = source.take(indices.astype(np.int64), axis)
    return np.asarray(taken, dtype=object) if indices.ndim else _scalar_safe(taken)


def _scalar_safe(taken: Any) -> Content:
    """Wrap what numpy unwraps when one element is taken."""
    return taken if isinstance(taken, np.ndarray) else _filled([taken], ())


def _slice(node: ir.Node, version: int, known: Known) -> Content | None:
    source = known.content(node.inputs[0])
    bounds = slice_bounds(node, version, source.ndim if source is not None else 0)
    if source is None or bounds is None:
        return None
    places = [slice(None)] * source.ndim
    for axis, start, end, step in bounds:
        if step < 1:
            return None
        places[axis] = slice(start, end, step)
    return source[tuple(places)]


def slice_bounds(node: ir.Node, version: int, rank: int) -> list[tuple[int, int, int, int]] | None:
    """(axis, start, end, step) of a Slice with constant bounds, as written; None for others."""
    if version < 10:
        starts, ends = (ints_of(node, name) for name in ("starts", "ends"))
        axes, steps = ints_of(node, "axes"), None
    else:
        starts, ends, axes, steps = (
            _constant_ints(node.inputs[i] if i < len(node.inputs) else None) for i in range(1, 5)
        )
        given = [i for i in range(1, min(len(node.inputs), 5)) if node.inputs[i] is not None]
        if any((starts, ends, axes, steps)[i - 1] is None for i in given):
            return None
    if starts is None or ends is None or len(starts) != len(ends):
        return None
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if len(axes) != len(starts) or len(steps) != len(starts):
        return None
    if any(not -rank <= axis < rank for axis in axes):
        return None
    return [(a % rank, s, e, p) for a, s, e, p in zip(axes, starts, ends, steps, strict=True)]


def _constant_ints(value: ir.Value | None) -> list[int] | None:
    array = None if value is None else edit.constant(value)
    return None if array is None else [int(x) for x in array.reshape(-1)]


def _constant_of_shape(node: ir.Node, version: int, known: Known) -> Content | None:
    sizes = elements(known.content(node.inputs[0]))
    attr = node.attributes.get("value")
    if sizes is None or attr is None or not all(type(x) is int and x >= 0 for x in sizes):
        return None
    tensor = attr.as_tensor()
    if tensor.dtype not in _INTEGERS or int(np.prod(sizes)) > MAX_ELEMENTS:
        return None
    return _filled([tensor.numpy().reshape(-1)[0].item()] * int(np.prod(sizes)), tuple(sizes))


def _transpose(node: ir.Node, version: int, known: Known) -> Content | None:
    source, perm = known.content(node.inputs[0]), ints_of(node, "perm")
    return None if source is None else source.transpose(perm)


def _reduce_product(node: ir.Node, version: int, known: Known) -> Content | None:
    source = known.content(node.inputs[0])
    if source is None or source.ndim > 1:
        return None
    items = list(source.reshape(-1))
    if any(x is None or isinstance(x, bool) for x in items):
        return None
    keep = edit.attribute(node, "keepdims", 1)
    return _filled([product(items)], (1,) * source.ndim if keep else ())


def _elementwise(function: Callable[..., Any]) -> Rule:
    """The rule of an op that works element by element, with broadcasting."""

    def rule(node: ir.Node, version: int, known: Known) -> Content | None:
        contents = [known.content(value) for value in node.inputs]
        arrays = [content for content in contents if content is not None]
        if len(arrays) < len(contents) or not arrays or version < _BROADCASTS_SINCE:
            return None
        try:
            spread = np.broadcast_arrays(*arrays)
        except ValueError:
            return None
        if spread[0].size > MAX_ELEMENTS:
            return None
        rows = zip(*(array.reshape(-1) for array in spread), strict=True)
        return _filled([function(*row) for row in rows], spread[0].shape)

    return rule


def _arithmetic(function: Callable[..., Number | None]) -> Rule:
    def safe(*operands: Any) -> Number | None:
        odd = any(x is None or isinstance(x, bool) for x in operands)
        return None if odd else function(*operands)

    return _elementwise(safe)


def _subtract(a: Number, b: Number) -> Number | None:
    minus = negate(b)
    return None if minus is None else add(a, minus)


def _extreme(pick: Callable[[int, int], int], name: str) -> Callable[..., Number | None]:
    def function(*operands: Number) -> Number | None:
        result = operands[0]
        for other in operands[1:]:
            if isinstance(result, int) and isinstance(other, int):
                result = pick(result, other)
            elif result != other:
                signed = not (is_size(result) and is_size(other))
                unknown = opaque(name, result, other, signed=signed)
                if unknown is None:
                    return None
                result = unknown
        return result

    return function


def _equal(a: Any, b: Any) -> bool | None:
    if a is None or b is None:
        return None
    if a == b:
        return True
    difference = None if isinstance(a, bool) else _subtract(a, b)
    if isinstance(a, bool) or isinstance(difference, int):
        return False
    if difference is None:
        return None
    minus = negate(difference)
    apart = is_positive(difference) or (minus is not None and is_positive(minus))
    return False if apart else None


def _less(a: Any, b: Any) -> bool | None:
    """Whether a < b, where it is certain."""
    difference = None if a is None or b is None else _subtract(b, a)
    if difference is None:
        return None
    if is_positive(difference):
        return True
    minus = negate(difference)
    return False if minus is not None and is_size(minus) else None


def _not(a: Any) -> bool | None:
    return (not a) if isinstance(a, bool) else None


def _and(a: Any, b: Any) -> bool | None:
    if a is False or b is False:
        return False
    return True if a is True and b is True else None


def _or(a: Any, b: Any) -> bool | None:
    if a is True or b is True:
        return True
    return False if a is False and b is False else None


def _where(condition: Any, a: Any, b: Any) -> Any:
    if isinstance(condition, bool):
        return a if condition else b
    return a if a is not None and type(a) is type(b) and a == b else None


def _absolute(a: Number) -> Number | None:
    return abs(a) if isinstance(a, int) else a if is_size(a) else None


def _negated_less(a: Any, b: Any) -> bool | None:
    less = _less(a, b)
    return None if less is None else not less


CONTENT_OPS: Mapping[str, Rule] = MappingProxyType(
    {
        "Abs": _arithmetic(_absolute),
        "Add": _arithmetic(add),
        "And": _elementwise(_and),
        "Cast": _cast,
        "Concat": _concat,
        "ConstantOfShape": _constant_of_shape,
        "Div": _arithmetic(quotient),
        "Equal": _elementwise(_equal),
        "Gather": _gather,
        "Greater": _elementwise(lambda a, b: _less(b, a)),
        "GreaterOrEqual": _elementwise(_negated_less),
        "Identity": _same,
        "Less": _elementwise(_less),
        "LessOrEqual": _elementwise(lambda a, b: _negated_less(b, a)),
        "Max": _arithmetic(_extreme(max, "max")),
        "Min": _arithmetic(_extreme(min, "min")),
        "Mul": _arithmetic(multiply),
        "Neg": _arithmetic(negate),
        "Not": _elementwise(_not),
        "Or": _elementwise(_or),
        "ReduceProd": _reduce_product,
        "Reshape": _reshape,
        "Shape": _shape,
        "Size": _size,
        "Slice": _slice,
        "Squeeze": _squeeze,
        "Sub": _arithmetic(_subtract),
        "Transpose": _transpose,
        "Unsqueeze": _unsqueeze,
        "Where": _elementwise(_where),
    }
)
"""How the one output of an op follows from what is known of its inputs."""
