"""Sizes that a signature leaves open and that the weights decide."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.signature import Signature, TensorSpec, signature_of

Place = tuple[str, int]
"""An input and its axis."""

Axes = tuple[Place | int | None, ...]
"""For each axis of a value its size, or the place whose size it has, where that is known."""

_SAME = frozenset(
    {"Abs", "Cast", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity"}
    | {"LeakyRelu", "Log", "Neg", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh"}
)
_BROADCAST = frozenset({"Add", "Div", "Mul", "Pow", "Sub"})
_LAYERS = {
    "BatchNormalization": (1, 1, 0),
    "Conv": (1, 3, 1),
    "ConvTranspose": (1, 3, 0),
    "GRU": (2, 3, 2),
    "InstanceNormalization": (1, 1, 0),
    "LSTM": (2, 3, 2),
    "LayerNormalization": (-1, 1, -1),
    "RNN": (2, 3, 2),
}
"""Axis of the first operand that a weight, the second one, decides; that weight's least rank; and
which axis of it, of a Conv once a group."""


def feedable_signature(model: ir.Model, asked: Collection[str] = ()) -> Signature:
    """The signature with a number for each open size that a weight decides.

    A trained layer takes one width: the rows of its matrix, the channels of its kernel, the length
    of its scale. Where an axis of an input reaches such a layer through operators that keep the
    axis, its size is known although the file leaves it open.

    Args:
        model: Whose inputs are to be made up.
        asked: Symbols or ``input:axis`` that somebody gives sizes for: they stay open.
    """
    signature = signature_of(model)
    if all(spec.is_static for spec in signature.inputs):
        return signature
    sizes = {
        place: size for place, size in _decided(model) if f"{place[0]}:{place[1]}" not in asked
    }
    named = {
        dim: sizes[spec.name, axis]
        for spec in signature.inputs
        for axis, dim in enumerate(spec.shape or ())
        if isinstance(dim, str) and dim and (spec.name, axis) in sizes
    }
    for symbol in asked:
        named.pop(symbol, None)
    return replace(signature, inputs=tuple(_sized(s, sizes, named) for s in signature.inputs))


def _sized(spec: TensorSpec, sizes: Mapping[Place, int], named: Mapping[str, int]) -> TensorSpec:
    if spec.shape is None:
        return spec

    def size(axis: int, dim: int | str | None) -> int | str | None:
        if isinstance(dim, int):
            return dim
        return named.get(dim, dim) if dim else sizes.get((spec.name, axis))

    return replace(spec, shape=tuple(size(axis, dim) for axis, dim in enumerate(spec.shape)))


def _decided(model: ir.Model) -> Iterator[tuple[Place, int]]:
    """Places of the main graph's inputs with their sizes, as its own nodes want them."""
    known: dict[ir.Value, Axes] = {}
    for value in model.graph.inputs:
        if value.shape is not None and value.name:
            sizes = enumerate(value.shape)
            known[value] = tuple(
                size if isinstance(size, int) else (value.name, axis) for axis, size in sizes
            )
    for node in model.graph:
        at = next((n for n, value in enumerate(node.inputs) if value in known), None)
        source = None if at is None else node.inputs[at]
        if at is None or source is None or node.domain not in ("", "com.microsoft"):
            continue
        axes = known[source]
        for axis, size in _wanted(node, at, axes):
            place = axes[axis] if -len(axes) <= axis < len(axes) else None
            if isinstance(place, tuple) and size > 0:
                yield place, size
        if node.op_type in _BROADCAST and all(value in known for value in node.inputs):
            one, other = (known[value] for value in node.inputs if value is not None)
            yield from _alike(one, other)
            result: Axes | None = _broadcast(one, other)
        else:
            result = _passed_on(node, at, axes)
        if result is not None and node.outputs:
            known[node.outputs[0]] = result


def _alike(one: Axes, other: Axes) -> Iterator[tuple[Place, int]]:
    """Places that meet a size larger than one when two values are broadcast."""
    for pair in zip(reversed(one), reversed(other), strict=False):
        for place, size in (pair, pair[::-1]):
            if isinstance(place, tuple) and isinstance(size, int) and size > 1:
                yield place, size


def _broadcast(one: Axes, other: Axes) -> Axes:
    """The axes of two values broadcast together: of each pair what says most."""
    pairs = itertools.zip_longest(reversed(one), reversed(other))
    return tuple(max(pair, key=_says) for pair in pairs)[::-1]


def _says(axis: Place | int | None) -> int:
    """A size says more than a place, and one that may be stretched says nothing."""
    if isinstance(axis, int):
        return 2 * (axis > 1)
    return int(axis is not None)


def _wanted(node: ir.Node, at: int, axes: Axes) -> Iterator[tuple[int, int]]:
    """Axes of the operand at this position, with the sizes that a weight of the node gives them."""
    other = _weight_shape(node, 1 - at) if at < 2 and len(node.inputs) > 1 else None
    if other is None:
        return
    op, rank = node.op_type, len(other)
    if op == "MatMul" and rank > 1:
        yield (-2, other[-1]) if at else (-1, other[-2])
    elif op == "Gemm" and rank == 2:
        yield _inner_of_gemm(node, at, other)
    elif op in _BROADCAST and rank <= len(axes):
        yield from ((n - rank, size) for n, size in enumerate(other) if size > 1)
    elif at == 0 and op in _LAYERS:
        axis, least_rank, wanted = _LAYERS[op]
        if rank >= least_rank:
            group = edit.attribute(node, "group", 1) if op == "Conv" else 1
            yield axis, other[wanted] * (group if isinstance(group, int) else 1)


def _inner_of_gemm(node: ir.Node, at: int, other: tuple[int, ...]) -> tuple[int, int]:
    """The axis that is summed over, of the operand at this position, and its size."""
    mine, theirs = ("transA", "transB") if at == 0 else ("transB", "transA")
    axis = bool(edit.attribute(node, mine, 0)) ^ (at == 0)
    return int(axis), other[bool(edit.attribute(node, theirs, 0)) ^ (at == 1)]


def _passed_on(node: ir.Node, at: int, axes: Axes) -> Axes | None:
    """What the first output's axes are, for operators that keep some."""
    op = node.op_type
    if op in _SAME:
        return axes
    if op == "Transpose":
        order = edit.attribute(node, "perm", tuple(reversed(range(len(axes)))))
        places = [int(axis) for axis in order] if isinstance(order, Sequence) else []
        return tuple(axes[axis] for axis in places) if len(places) == len(axes) else None
    if op in _BROADCAST:
        other = _weight_shape(node, 1 - at)
        return axes if other is not None and len(other) <= len(axes) else None
    if op in ("Unsqueeze", "Squeeze"):
        return _squeezed(node, axes)
    if op == "BatchNormalization":
        return axes
    if op == "MatMul" and at == 0 and len(_weight_shape(node, 1) or ()) == 2:
        return (*axes[:-1], None)
    if op == "Slice":
        return _sliced(node, axes)
    if op == "Gather":
        return _gathered(node, at, axes)
    return None


def _squeezed(node: ir.Node, axes: Axes) -> Axes | None:
    listed = _numbers(node, 1, "axes")
    if listed is None:
        return None
    rank = len(axes) + (len(listed) if node.op_type == "Unsqueeze" else 0)
    at = {axis % rank for axis in listed} if rank else set()
    if node.op_type == "Squeeze":
        return tuple(place for axis, place in enumerate(axes) if axis not in at)
    left = iter(axes)
    return tuple(None if axis in at else next(left, None) for axis in range(rank))


def _sliced(node: ir.Node, axes: Axes) -> Axes | None:
    """Axes that are not cut keep their size."""
    listed = _numbers(node, 3, "axes")
    if listed is None or not axes:
        return None
    cut = {axis % len(axes) for axis in listed}
    return tuple(None if axis in cut else place for axis, place in enumerate(axes))


def _gathered(node: ir.Node, at: int, axes: Axes) -> Axes | None:
    """Rows of a table for indices; or what a constant index leaves of a value."""
    other = _weight_shape(node, 1 - at)
    axis = edit.attribute(node, "axis", 0)
    if other is None or not isinstance(axis, int):
        return None
    table, indices = (axes, other) if at == 0 else (other, axes)
    if not -len(table) <= axis < len(table):
        return None
    axis %= len(table)
    return (*table[:axis], *indices, *table[axis + 1 :])


def _numbers(node: ir.Node, index: int, name: str) -> list[int] | None:
    """A list of axes: an attribute in old opsets, an operand in newer ones."""
    given = edit.attribute(node, name, ())
    if isinstance(given, Sequence) and given and not isinstance(given, str):
        return [int(axis) for axis in given]
    array = edit.constant(node.inputs[index]) if index < len(node.inputs) else None
    return None if array is None else [int(axis) for axis in array.reshape(-1)]


def _weight_shape(node: ir.Node, index: int) -> tuple[int, ...] | None:
    """The shape of an operand that always holds one tensor."""
    tensor = edit.constant_tensor(node.inputs[index]) if index < len(node.inputs) else None
    return None if tensor is None else tuple(tensor.shape.numpy())
