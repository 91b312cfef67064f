"""How channels pass through nodes with weights: convolutions, products, recurrent layers."""

from __future__ import annotations

import string
from collections.abc import Sequence

import onnx_ir as ir

from onnxopt.graph import attribute
from onnxopt_passes.prune._coupling_dims import Dim, concat, freeze, leaf, normal, product
from onnxopt_passes.prune._coupling_fixes import AttributeFix, ScaleFix
from onnxopt_passes.prune._coupling_pointwise import broadcast, freeze_positions
from onnxopt_passes.prune._coupling_walk import Axes, Rule, Unmapped, Walk, is_one

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_BIAS, _LENGTHS, _FIRST_STATE, _PEEPHOLES = 3, 4, 5, 7
_ATTENTION_RANK = 4
_SECOND_TABLE = 2  # com.microsoft has positions before its tables
_PAIR = 2
_MATRIX = 2


def _number(node: ir.Node, name: str, default: int) -> int:
    return int(str(attribute(node, name, default)))


def _split(walk: Walk, node: ir.Node, dim: Dim, count: int) -> tuple[Dim, Dim]:
    """An axis as groups of places."""
    size = normal(dim).size
    if size is None or size % count:
        raise Unmapped("has an unknown number of channels")
    groups = Dim(count) if count > 1 else leaf(1)
    inner = Dim(size // count) if size > count else leaf(1)
    walk.same(dim, product([groups, inner]), node)
    return groups, inner


def convolution(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Groups may go whole, or the same places of every group."""
    axes, weight = walk.axes(node, 0), walk.axes(node, 1)
    group = _number(node, "group", 1)
    groups, inputs = _split(walk, node, axes[1], group)
    outer, makes = _split(walk, node, weight[0], group)
    walk.same(groups, outer, node)
    walk.same(inputs, weight[1], node)
    depthwise = group > 1 and is_one(weight[1]) and is_one(makes)
    return [_convolved(walk, node, axes, weight[0], (0, 1), groups, depthwise)]


def transposed_convolution(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """As a convolution, with the weight's input channels first."""
    axes, weight = walk.axes(node, 0), walk.axes(node, 1)
    group = _number(node, "group", 1)
    groups, _ = _split(walk, node, axes[1], group)
    walk.same(axes[1], weight[0], node)
    made = product([groups, weight[1]])
    depthwise = group > 1 and normal(weight[0]).size == group and is_one(weight[1])
    return [_convolved(walk, node, axes, made, (1, 0), groups, depthwise)]


def _convolved(
    walk: Walk,
    node: ir.Node,
    axes: Axes,
    made: Dim,
    order: tuple[int, int],
    groups: Dim,
    depthwise: bool,
) -> Axes:
    weight = walk.axes(node, 1)
    freeze_positions(weight)
    freeze_positions(axes)
    bias = walk.maybe(node, 2)
    if bias:
        walk.same(bias[0], made, node)
    if depthwise:
        walk.mark(node, 1, carries=[0, 1])
    else:
        walk.mark(node, 1, makes=order[:1], reads=order[1:])
        if bias:
            walk.mark(node, 2, makes=[0])
    if _number(node, "group", 1) > 1:
        walk.fixes.append(AttributeFix(node, "group", groups))
    sizes = walk.sizes(node.outputs[0]) or tuple(leaf(None) for _ in axes)
    return (axes[0], made, *sizes[2:])


def gemm(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """A product of matrices, either transposed, and something added."""
    turned = [bool(_number(node, name, 0)) for name in ("transA", "transB")]
    left, right = walk.axes(node, 0), walk.axes(node, 1)
    rows, inner = (left[1], left[0]) if turned[0] else (left[0], left[1])
    other, columns = (right[1], right[0]) if turned[1] else (right[0], right[1])
    walk.same(inner, other, node)
    walk.mark(node, 1, makes=[0 if turned[1] else 1], reads=[1 if turned[1] else 0])
    walk.mark(node, 0, makes=[1 if turned[0] else 0], reads=[0 if turned[0] else 1])
    added = walk.maybe(node, 2)
    if added is not None:
        broadcast(walk, node, [(rows, columns), added])
        if walk.is_fixed(node.inputs[2]) and added:
            walk.mark(node, 2, makes=[len(added) - 1])
    return [(rows, columns)]


def matmul(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """A product of matrices, of many at once where there are more axes."""
    left, right = walk.axes(node, 0), walk.axes(node, 1)
    if not left or not right:
        raise Unmapped("multiplies scalars")
    walk.same(left[-1], right[-2] if len(right) >= _MATRIX else right[-1], node)
    if len(right) >= _MATRIX:
        walk.mark(node, 1, makes=[len(right) - 1], reads=[len(right) - 2])
    if len(left) >= _MATRIX:
        walk.mark(node, 0, makes=[len(left) - 2], reads=[len(left) - 1])
    many = broadcast(walk, node, [left[:-2], right[:-2]])
    rows = left[-2:-1] if len(left) >= _MATRIX else ()
    columns = right[-1:] if len(right) >= _MATRIX else ()
    return [(*many, *rows, *columns)]


def einsum(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Axes of one letter are one axis."""
    equation = str(attribute(node, "equation", "")).replace(" ", "")
    terms, arrow, result = equation.partition("->")
    operands = terms.split(",")
    if not arrow or not set(terms) <= set(string.ascii_letters + ",") or "." in result:
        raise Unmapped("has an equation without a result, or with dots")
    known: dict[str, Dim] = {}
    for index, letters in enumerate(operands):
        for letter, dim in zip(letters, walk.axes(node, index), strict=True):
            if letter in known and not is_one(known[letter]) and not is_one(dim):
                walk.same(known[letter], dim, node)
            elif letter not in known or is_one(known[letter]):
                known[letter] = dim
    for index, letters in enumerate(operands):
        makes = [place for place, letter in enumerate(letters) if letter in result]
        reads = [place for place, letter in enumerate(letters) if letter not in result]
        walk.mark(node, index, makes=makes, reads=reads)
    return [tuple(known[letter] for letter in result)]


def recurrent(walk: Walk, node: ir.Node) -> Sequence[Axes | None]:
    """LSTM, GRU and RNN: a hidden unit is its places in all gates, in both directions."""
    gates = _GATES[node.op_type]
    axes, inputs, states = (walk.axes(node, index) for index in range(3))
    hidden = states[2]
    turns = walk.axes(node, 1)[0]
    gate = leaf(gates, "they are gates") if gates > 1 else leaf(1)
    walk.same(inputs[2], axes[2], node)
    for dim in (inputs[1], states[1]):
        walk.same(dim, product([gate, hidden]), node)
    bias = walk.maybe(node, _BIAS)
    if bias is not None:
        walk.same(bias[1], product([leaf(2 * gates, "they are gates"), hidden]), node)
    holes = walk.maybe(node, _PEEPHOLES)
    if holes is not None:
        walk.same(holes[1], product([leaf(3, "they are gates"), hidden]), node)
    for index in (_FIRST_STATE, _FIRST_STATE + 1):
        state = walk.maybe(node, index)
        if state is not None:
            walk.same(state[2], hidden, node)
    for weight in (inputs, states, bias, holes):
        if weight is not None:
            freeze(weight[0], "they are directions")
    walk.mark(node, 1, makes=[1], reads=[2])
    walk.mark(node, 2, makes=[1], reads=[2])
    walk.mark(node, _BIAS, makes=[1])
    walk.fixes.append(AttributeFix(node, "hidden_size", hidden))
    if _number(node, "layout", 0):
        last = axes[0], turns, hidden
        return [(axes[0], axes[1], turns, hidden), last, last]
    last = turns, axes[1], hidden
    return [(axes[0], turns, axes[1], hidden), last, last]


def attention(walk: Walk, node: ir.Node) -> Sequence[Axes | None]:
    """Attention of equal numbers of heads: heads may go whole, or the same places of each."""
    queries, keys, values = (walk.axes(node, index) for index in range(3))
    if any(index < len(node.inputs) and node.inputs[index] is not None for index in (4, 5)):
        raise Unmapped("keeps keys and values")
    if len(queries) == _ATTENTION_RANK:
        split = [(axes[1], axes[3]) for axes in (queries, keys, values)]
        made = (*queries[:3], values[3])
    else:
        counts = [_number(node, name, 0) for name in ("q_num_heads", "kv_num_heads")]
        if not all(counts):
            raise Unmapped("has an unknown number of heads")
        count, other = counts
        pairs = ((queries, count), (keys, other), (values, other))
        split = [_split(walk, node, axes[2], heads) for axes, heads in pairs]
        made = (*queries[:2], product([split[0][0], split[2][1]]))
        walk.fixes.append(AttributeFix(node, "q_num_heads", split[0][0]))
        walk.fixes.append(AttributeFix(node, "kv_num_heads", split[1][0]))
    walk.same(split[1][0], split[2][0], node)
    walk.same(split[0][1], split[1][1], node)
    _join_heads(walk, node, split[0][0], split[1][0])
    walk.fixes.append(ScaleFix(node, "scale", split[0][1]))
    mask = walk.maybe(node, 3)
    if mask is not None:
        rank = len(mask)
        head = (split[0][0],) if rank == _ATTENTION_RANK else ()
        for dim, ours in zip(mask[-3:-2], head, strict=False):
            if not is_one(dim):
                walk.same(dim, ours, node)
    return [made]


def _join_heads(walk: Walk, node: ir.Node, queries: Dim, keys: Dim) -> None:
    many, few = normal(queries).size, normal(keys).size
    if many is None or few is None or many % few:
        raise Unmapped("has an unknown number of heads")
    inner = leaf(many // few, walk.why(node, "shares keys among them"))
    walk.same(queries, product([keys, inner]) if many > few else keys, node)


def rotation(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """RotaryEmbedding: heads may go, or the two places of every head that are turned together."""
    axes = walk.axes(node, 0)
    heads, inner = axes[1], axes[-1]
    if len(axes) < _ATTENTION_RANK:
        count = _number(node, "num_heads", 0)
        if not count:
            raise Unmapped("has an unknown number of heads")
        heads, inner = _split(walk, node, inner, count)
    size, first = normal(inner).size, 1 if node.domain == "" else _SECOND_TABLE
    turned = _number(node, "rotary_embedding_dim", 0) or size
    if size is None or turned is None or turned > size:
        raise Unmapped("turns an unknown number of places")
    half = Dim(turned // 2) if turned > _PAIR else leaf(1)
    pair = leaf(_PAIR, walk.why(node, "turns them in pairs"))
    whole = product([half, pair] if _number(node, "interleaved", 0) else [pair, half])
    rest = [Dim(size - turned)] if turned < size else []
    walk.same(inner, concat([whole, *rest]), node)
    for table in (first, first + 1):
        walk.same(walk.axes(node, table)[-1], half, node)
    if "num_heads" in node.attributes:
        walk.fixes.append(AttributeFix(node, "num_heads", heads))
    if rest:
        walk.fixes.append(AttributeFix(node, "rotary_embedding_dim", whole))
    return [axes]


RULES: dict[str, Rule] = {
    "RotaryEmbedding": rotation,
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "Gemm": gemm,
    "MatMul": matmul,
    "Einsum": einsum,
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
    "Attention": attention,
}
"""Op type → how channels pass through."""
