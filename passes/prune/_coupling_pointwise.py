"""How channels pass through nodes that compute place by place, pool, reduce or normalize."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnxopt.graph import attribute
from onnxopt_passes.prune._coupling_dims import Dim, freeze, leaf, normal, product
from onnxopt_passes.prune._coupling_fixes import AttributeFix
from onnxopt_passes.prune._coupling_walk import Axes, Rule, Unmapped, Walk, is_one

_COERCING = 13  # before this opset, Softmax makes a matrix of its input
_AXES_AS_INPUT = 18
_GROUP_NORM_BY_CHANNEL = 21

_BROADCASTING = """Add Sub Mul Div Pow Mod Min Max Sum Mean And Or Xor Where Equal Greater Less
 GreaterOrEqual LessOrEqual PRelu BitwiseAnd BitwiseOr BitwiseXor BitShift BiasGelu FastGelu"""
_ONE_INPUT = """Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Clip Cos Cosh
 Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg
 Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh
 ThresholdedRelu QuickGelu RandomNormalLike RandomUniformLike Bernoulli"""
POINTWISE = frozenset((*_BROADCASTING.split(), *_ONE_INPUT.split()))
"""Ops that compute place by place."""
_ADDING = ("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare")
_CHOOSING = ("ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp")


def broadcast(walk: Walk, node: ir.Node, operands: Sequence[Axes]) -> Axes:
    """The axes of what is computed place by place from operands that are repeated to fit."""
    made: list[Dim] = []
    for axis in range(max(map(len, operands), default=0)):
        row = [axes[-1 - axis] for axes in operands if axis < len(axes)]
        wide = [dim for dim in row if not is_one(dim)]
        for other in wide[1:]:
            walk.same(wide[0], other, node)
        made.insert(0, (wide or row)[0])
    return tuple(made)


def pointwise(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """All inputs broadcast against each other."""
    count = len(node.inputs)
    present = [walk.axes(node, i) for i in range(count) if node.inputs[i] is not None]
    return [broadcast(walk, node, present)]


def passing(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Every output has the axes of the first input."""
    return [walk.axes(node, 0)] * len(node.outputs)


def freeze_positions(axes: Axes) -> None:
    """Let the places of an image stay."""
    for dim in axes[2:]:
        freeze(dim, "they are positions")


def pooling(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Samples and channels stay; the rest are positions."""
    axes = walk.axes(node, 0)
    freeze_positions(axes)
    made = []
    for out in node.outputs:
        sizes = walk.sizes(out) or tuple(leaf(None) for _ in axes)
        made.append((*axes[:2], *sizes[2:]))
    return made


def global_pooling(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """One position is left."""
    axes = walk.axes(node, 0)
    freeze_positions(axes)
    return [(*axes[:2], *(leaf(1) for _ in axes[2:]))]


def sampling(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """GridSample, RoiAlign: the channels are the first input's, the rest positions."""
    axes, sizes = walk.axes(node, 0), walk.sizes(node.outputs[0])
    freeze_positions(axes)
    for dim in walk.axes(node, 1):
        freeze(dim, "they are positions")
    if sizes is None:
        raise Unmapped("has a result of unknown shape")
    return [(sizes[0], axes[1], *sizes[2:])]


def reduction(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Sums and means take channels together; a maximum wants all of them."""
    axes = walk.axes(node, 0)
    chosen = axes_option(walk, node)
    if chosen is None:
        raise Unmapped("reduces along axes that are not constant")
    empty = not chosen and not attribute(node, "noop_with_empty_axes", 0)
    gone = set(range(len(axes))) if empty else {a % len(axes) for a in chosen}
    if node.op_type in _CHOOSING:
        for axis in gone:
            freeze(axes[axis], walk.why(node, "wants all of them"))
    if attribute(node, "keepdims", 1):
        return [tuple(leaf(1) if i in gone else dim for i, dim in enumerate(axes))]
    return [tuple(dim for i, dim in enumerate(axes) if i not in gone)]


def axes_option(walk: Walk, node: ir.Node) -> list[int] | None:
    """Axes given as an attribute or as input 1; empty where absent, None where not constant."""
    given = attribute(node, "axes", ())
    if given or len(node.inputs) < 2 or node.inputs[1] is None:
        return [int(axis) for axis in given] if isinstance(given, Sequence) else []
    return walk.ints(node.inputs[1])


def softmax(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """What sums to one wants all its places."""
    axes = walk.axes(node, 0)
    coerces = walk.version < _COERCING and node.op_type != "LpNormalization"
    axis = _axis(node, 1 if coerces else -1, len(axes))
    for dim in axes[axis:] if coerces else axes[axis : axis + 1]:
        freeze(dim, walk.why(node, "wants all of them"))
    return [axes]


def along(walk: Walk, node: ir.Node) -> Sequence[Axes | None]:
    """ArgMax, TopK, CumSum…: one axis wants all its places, the others stay apart."""
    axes = walk.axes(node, 0)
    given = walk.ints(node.inputs[1]) if node.op_type == "CumSum" else None
    if node.op_type == "CumSum" and not given:
        raise Unmapped("sums up along an axis that is not constant")
    default = -1 if node.op_type == "TopK" else 0
    axis = given[0] % len(axes) if given else _axis(node, default, len(axes))
    freeze(axes[axis], walk.why(node, "wants all of them"))
    if node.op_type == "CumSum":
        return [axes]
    if node.op_type == "TopK":
        dim = walk.position(node.outputs[0], axis)
        return [(*axes[:axis], dim, *axes[axis + 1 :])] * 2
    kept = (leaf(1),) if attribute(node, "keepdims", 1) else ()
    return [(*axes[:axis], *kept, *axes[axis + 1 :])]


def triangle(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Trilu: rows and columns are counted, matrices stay apart."""
    axes = walk.axes(node, 0)
    for dim in axes[-2:]:
        freeze(dim, walk.why(node, "counts them"))
    return [axes]


def batch_normalization(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Four numbers a channel."""
    axes = walk.axes(node, 0)
    for index in range(1, 5):
        walk.same(walk.axes(node, index)[0], axes[1], node)
    return [axes, *[(axes[1],)] * (len(node.outputs) - 1)]


def instance_normalization(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Two numbers a channel; what is behind them may be channels too, those of a group."""
    axes = walk.axes(node, 0)
    for index in (1, 2):
        walk.same(walk.axes(node, index)[0], axes[1], node)
    return [axes]


def group_normalization(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Groups may go, and the same places of every group."""
    axes = walk.axes(node, 0)
    count = int(str(attribute(node, "num_groups", 1)))
    size = normal(axes[1]).size
    if size is None or size % count:
        raise Unmapped("has an unknown number of channels")
    groups, inner = Dim(count), Dim(size // count) if size > count else leaf(1)
    walk.same(axes[1], product([groups, inner]), node)
    target = axes[1] if walk.version >= _GROUP_NORM_BY_CHANNEL else groups
    for index in (1, 2):
        walk.same(walk.axes(node, index)[0], target, node)
    walk.fixes.append(AttributeFix(node, "num_groups", groups))
    return [axes]


def layer_normalization(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Statistics are of the places left; scale and shift have a number for each."""
    axes = walk.axes(node, 0)
    skipping = node.op_type.startswith("Skip")
    count = len(node.inputs)
    rows = [walk.axes(node, i) for i in range(count) if node.inputs[i] is not None]
    made = broadcast(walk, node, rows)
    first = _axis(node, -1, len(axes))
    few = (*axes[:first], *(leaf(1) for _ in axes[first:]))
    return [made, few, few, *([made] if skipping else [])]


def _axis(node: ir.Node, default: int, rank: int) -> int:
    return int(str(attribute(node, "axis", default))) % max(rank, 1)


def _rules() -> dict[str, Rule]:
    table: list[tuple[Callable[..., Sequence[Axes | None]], str]] = [
        (pointwise, _BROADCASTING),
        (passing, _ONE_INPUT),
        (pooling, "MaxPool AveragePool LpPool"),
        (global_pooling, "GlobalAveragePool GlobalMaxPool GlobalLpPool"),
        (sampling, "GridSample RoiAlign"),
        (reduction, " ".join((*_ADDING, *_CHOOSING))),
        (softmax, "Softmax LogSoftmax Hardmax"),
        (along, "ArgMax ArgMin TopK CumSum"),
        (triangle, "Trilu"),
        (passing, "LpNormalization MeanVarianceNormalization"),
        (batch_normalization, "BatchNormalization"),
        (instance_normalization, "InstanceNormalization"),
        (group_normalization, "GroupNormalization"),
        (
            layer_normalization,
            "LayerNormalization RMSNormalization SimplifiedLayerNormalization"
            " SkipLayerNormalization SkipSimplifiedLayerNormalization",
        ),
    ]
    return {word: rule for rule, words in table for word in words.split()}


RULES = _rules()
"""Op type → how channels pass through."""
