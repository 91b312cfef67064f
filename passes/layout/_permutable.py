"""Nodes that compute the same whatever order the axes of their tensors are in.

Such a node f satisfies ``f(T(x); a) = T(f(x; T⁻¹(a)))`` for a transposition T of all its tensors,
where the attributes and constants ``a`` that speak of axes are permuted as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, constant, drop_if_unread, is_constant, is_op

_UNARY = frozenset(
    """
    Abs Acos Acosh Asin Asinh Atan Atanh Cast Ceil Celu Clip Cos Cosh Elu Erf Exp Floor Gelu
    HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu
    Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu
    """.split()  # noqa: SIM905 - readable
)
_POINTWISE = frozenset(
    """
    Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub
    Sum Where Xor
    """.split()  # noqa: SIM905 - readable
)
_REDUCTIONS = frozenset(
    """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare
    """.split()  # noqa: SIM905 - readable
)
_ALONG_ONE_AXIS = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
_AXIS_SINCE = 13
"""Before it, Softmax flattens; and elementwise operators of opset 7 broadcast as today."""
_BROADCASTS_SINCE = 7
_SLICE_INPUTS = 10


@dataclass(frozen=True)
class Permutable:
    """A node whose tensors can be transposed.

    Attributes:
        node: The node.
        data: Places of the inputs that are transposed with it.
        permute: Respells attributes and constants for tensors whose axis ``i`` is axis
            ``order[i]`` of what they were.
    """

    node: ir.Node
    data: tuple[int, ...]
    permute: Callable[[Editor, Sequence[int]], None]


def read_permutable(node: ir.Node, version: int, rank: int) -> Permutable | None:
    """Read a node as one whose tensors of this rank can be transposed; None where it is not."""
    if node.domain or version < _BROADCASTS_SINCE or not node.outputs:
        return None
    if any(attr.is_ref() for attr in node.attributes.values()):
        return None
    if is_op(node, *_UNARY):
        return Permutable(node, (0,), _nothing)
    if is_op(node, *_POINTWISE):
        return _pointwise(node, rank)
    if is_op(node, "Concat", "Split") or (is_op(node, *_ALONG_ONE_AXIS) and version >= _AXIS_SINCE):
        return _along_axis(node, rank)
    if is_op(node, *_REDUCTIONS):
        return _reduction(node, rank)
    if is_op(node, "Pad"):
        return _pad(node, rank)
    return _slice(node, rank, version) if is_op(node, "Slice") else None


def _nothing(editor: Editor, order: Sequence[int]) -> None:
    """Nothing speaks of axes."""


def _pointwise(node: ir.Node, rank: int) -> Permutable | None:
    """Constants are broadcast, so they get all axes before they are transposed."""
    places = [place for place, value in enumerate(node.inputs) if not is_constant(value)]
    constants = [place for place in range(len(node.inputs)) if place not in places]
    ranks = [_rank_of(node.inputs[place]) for place in constants]
    if not places or any(found is None or found > rank for found in ranks):
        return None

    def permute(editor: Editor, order: Sequence[int]) -> None:
        for place in constants:
            old = node.inputs[place]
            array = constant(old)
            if array is None or old is None or array.size == 1:
                continue
            full = array.reshape((1,) * (rank - array.ndim) + array.shape)
            _replace_constant(editor, node, place, full.transpose(order))

    return Permutable(node, tuple(places), permute)


def _along_axis(node: ir.Node, rank: int) -> Permutable | None:
    default = 0 if node.op_type == "Split" else -1
    axis = int(str(attribute(node, "axis", default)))
    if not -rank <= axis < rank:
        return None
    if node.op_type == "Concat" and any(is_constant(value) for value in node.inputs):
        return None
    places = tuple(range(len(node.inputs))) if node.op_type == "Concat" else (0,)

    def permute(editor: Editor, order: Sequence[int]) -> None:
        node.attributes["axis"] = ir.AttrInt64("axis", list(order).index(axis % rank))

    return Permutable(node, places, permute)


def _reduction(node: ir.Node, rank: int) -> Permutable | None:
    axes = _axes(node)
    if axes is None or not attribute(node, "keepdims", 1):
        return None

    def permute(editor: Editor, order: Sequence[int]) -> None:
        new = sorted(list(order).index(axis % rank) for axis in axes)
        if "axes" in node.attributes:
            node.attributes["axes"] = ir.AttrInt64s("axes", new)
        else:
            _replace_constant(editor, node, 1, np.array(new, np.int64))

    return Permutable(node, (0,), permute)


def _axes(node: ir.Node) -> list[int] | None:
    """The axes of a reduction where they are given and constant."""
    given = attribute(node, "axes", ())
    if isinstance(given, list | tuple) and given:
        return [int(str(axis)) for axis in given]
    array = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return [int(axis) for axis in array.reshape(-1)] if array is not None and array.size else None


def _pad(node: ir.Node, rank: int) -> Permutable | None:
    amounts = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    has_axes = len(node.inputs) > 3 and node.inputs[3] is not None
    if amounts is None or has_axes or amounts.size != 2 * rank:
        return None
    pads = amounts.reshape(2, rank)

    def permute(editor: Editor, order: Sequence[int]) -> None:
        _replace_constant(editor, node, 1, pads[:, list(order)].reshape(-1))

    return Permutable(node, (0,), permute)


def _slice(node: ir.Node, rank: int, version: int) -> Permutable | None:
    if version < _SLICE_INPUTS or len(node.inputs) < 3:
        return None
    given = node.inputs[3] if len(node.inputs) > 3 else None
    starts = constant(node.inputs[1])
    array = constant(given)
    if starts is None or (given is not None and array is None):
        return None
    axes = np.arange(starts.size) if array is None else array.reshape(-1) % rank

    def permute(editor: Editor, order: Sequence[int]) -> None:
        new = np.array([list(order).index(int(axis)) for axis in axes], np.int64)
        if len(node.inputs) < 4:
            node.resize_inputs(4)
        _replace_constant(editor, node, 3, new)

    return Permutable(node, (0,), permute)


def _rank_of(value: ir.Value | None) -> int | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else len(tensor.shape)


def _replace_constant(
    editor: Editor,
    node: ir.Node,
    place: int,
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
) -> None:
    old = node.inputs[place]
    name = f"{node.outputs[0].name}/{place}" if old is None else f"{old.name}/permuted"
    node.replace_input_with(place, editor.constant(node, name, array))
    if old is not None:
        drop_if_unread(old)


def kept_rank(node: ir.Node, rank_of: Callable[[ir.Value], int | None]) -> int | None:
    """The rank that a node's outputs have because it keeps or broadcasts those of its inputs."""
    if is_op(node, *_POINTWISE):
        ranks = [None if value is None else rank_of(value) for value in node.inputs]
        known = [rank for rank in ranks if rank is not None]
        return max(known) if known and len(known) == len(ranks) else None
    keeps = is_op(node, *_UNARY, *_ALONG_ONE_AXIS, "Concat", "Split", "Pad", "Slice")
    reduces = is_op(node, *_REDUCTIONS) and bool(attribute(node, "keepdims", 1))
    source = node.inputs[0] if node.inputs else None
    return rank_of(source) if source is not None and (keeps or reduces) else None
