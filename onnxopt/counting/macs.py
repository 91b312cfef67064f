"""Multiply-accumulates (MACs) of one node, from the sizes of what it reads and writes.

Products count; additions, activations, normalization and data movement do not. One MAC is two
floating-point operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir

from onnxopt.graph import attribute, constant_tensor

Shape = tuple[int, ...]
Rule = Callable[[ir.Node], int | None]


def sizes(value: ir.Value | None) -> Shape | None:
    """The declared sizes of a value; None where any is open."""
    if value is None:
        return None
    tensor = constant_tensor(value)
    if tensor is not None:
        return tuple(tensor.shape.numpy())
    shape = value.shape
    if shape is None or not all(isinstance(dim, int) and dim >= 0 for dim in shape):
        return None
    return tuple(dim for dim in shape if isinstance(dim, int))


def macs(node: ir.Node) -> int | None:
    """Multiply-accumulates of a node, without its subgraphs; 0 where it multiplies nothing.

    Returns:
        None where that depends on sizes that the model does not declare, or there is no rule for
        an operator that multiplies.
    """
    kind = (node.domain, node.op_type)
    rule = _RULES.get(kind)
    if rule is None:
        return None if kind in _WITHOUT_RULE else 0
    return rule(node)


def _input(node: ir.Node, place: int) -> Shape | None:
    return sizes(node.inputs[place]) if place < len(node.inputs) else None


def _is_given(node: ir.Node, place: int) -> bool:
    return place < len(node.inputs) and node.inputs[place] is not None


def _number(node: ir.Node, name: str) -> int:
    return int(str(attribute(node, name, 0)))


def _convolution(weight: int) -> Rule:
    def rule(node: ir.Node) -> int | None:
        """Each output element is a sum over a group's channels and the kernel."""
        kernel, out = _input(node, weight), sizes(node.outputs[0])
        return None if kernel is None or out is None else math.prod(out) * math.prod(kernel[1:])

    return rule


def _conv_transpose(node: ir.Node) -> int | None:
    """Each input element goes into a group's output channels at every tap."""
    kernel, given = _input(node, 1), _input(node, 0)
    return None if kernel is None or given is None else math.prod(given) * math.prod(kernel[1:])


def _matmul(left: int = 0) -> Rule:
    def rule(node: ir.Node) -> int | None:
        """Each output element is a sum along the last axis of the left operand."""
        a, out = _input(node, left), sizes(node.outputs[0])
        if a is None or out is None or not a:
            return None
        turned = _number(node, "transA") and len(a) > 1
        return math.prod(out) * a[-2 if turned else -1]

    return rule


def _block_matmul(node: ir.Node) -> int | None:
    out = sizes(node.outputs[0])
    return None if out is None else math.prod(out) * _number(node, "K")


def _recurrent(node: ir.Node) -> int | None:
    """Each step of each sequence multiplies by both matrices."""
    given, weight, recurrence = (_input(node, place) for place in range(3))
    if given is None or weight is None or recurrence is None:
        return None
    return math.prod(given[:2]) * (math.prod(weight) + math.prod(recurrence))


def _einsum(node: ir.Node) -> int | None:
    """Every combination of indices, once an operand after the first."""
    text = attribute(node, "equation", "")
    terms = str(text.decode() if isinstance(text, bytes) else text).replace(" ", "")
    letters: dict[str, int] = {}
    for term, value in zip(terms.split("->")[0].split(","), node.inputs, strict=False):
        shape = sizes(value)
        if shape is None:
            return None
        names = _letters(term, len(shape))
        if names is None:
            return None
        for name, size in zip(names, shape, strict=True):
            letters[name] = max(size, letters.get(name, 0))
    return math.prod(letters.values()) * (len(node.inputs) - 1)


def _letters(term: str, rank: int) -> list[str] | None:
    """One name an axis; those of an ellipsis are numbered from the right."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after)
    if hidden < 0 or (hidden and not dots):
        return None
    return [*before, *(f".{place}" for place in range(hidden, 0, -1)), *after]


def _attention(node: ir.Node) -> int | None:
    """``Q K^T`` and its product with V; ``past_key`` makes K longer."""
    query, out = _input(node, 0), sizes(node.outputs[0])
    keys = _key_length(node)
    if query is None or out is None or keys is None:
        return None
    queries = math.prod(query if _is_given(node, 1) else out)
    return (queries + math.prod(out)) * keys


def _key_length(node: ir.Node) -> int | None:
    """How many keys each query is compared with."""
    key, past = _input(node, 1), 0
    if _is_given(node, _PAST[node.domain]):
        shape = _input(node, _PAST[node.domain])
        if shape is None:
            return None
        past = shape[2]
    if not _is_given(node, 1):  # packed into the query
        key = _input(node, 0)
        return None if key is None else key[1] + past
    return None if key is None else past + (key[2] if len(key) == _HEADS_RANK else key[1])


def _projected_attention(node: ir.Node) -> int | None:
    """com.microsoft's Attention: one product makes Q, K and V, then it attends."""
    given, weight, out = _input(node, 0), _input(node, 1), sizes(node.outputs[0])
    if given is None or weight is None or out is None:
        return None
    batch, length = given[:2]
    queries = (weight[1] - out[-1]) // 2
    return batch * length * (math.prod(weight) + length * (queries + out[-1]))


_HEADS_RANK = 4
_PAST = {"": 4, "com.microsoft": 6}
_MICROSOFT = "com.microsoft"
_RULES: Mapping[tuple[str, str], Rule] = {
    ("", "Attention"): _attention,
    ("", "Conv"): _convolution(1),
    ("", "ConvInteger"): _convolution(1),
    ("", "ConvTranspose"): _conv_transpose,
    ("", "DeformConv"): _convolution(1),
    ("", "Einsum"): _einsum,
    ("", "GRU"): _recurrent,
    ("", "Gemm"): _matmul(),
    ("", "LSTM"): _recurrent,
    ("", "MatMul"): _matmul(),
    ("", "MatMulInteger"): _matmul(),
    ("", "QLinearConv"): _convolution(3),
    ("", "QLinearMatMul"): _matmul(),
    ("", "RNN"): _recurrent,
    (_MICROSOFT, "Attention"): _projected_attention,
    (_MICROSOFT, "DynamicQuantizeLSTM"): _recurrent,
    (_MICROSOFT, "DynamicQuantizeMatMul"): _matmul(),
    (_MICROSOFT, "FusedConv"): _convolution(1),
    (_MICROSOFT, "FusedGemm"): _matmul(),
    (_MICROSOFT, "FusedMatMul"): _matmul(),
    (_MICROSOFT, "MatMulIntegerToFloat"): _matmul(),
    (_MICROSOFT, "MatMulNBits"): _block_matmul,
    (_MICROSOFT, "MultiHeadAttention"): _attention,
    (_MICROSOFT, "NhwcFusedConv"): _convolution(1),
    (_MICROSOFT, "QGemm"): _matmul(),
    (_MICROSOFT, "QLinearConv"): _convolution(3),
}
_WITHOUT_RULE = frozenset(
    {
        ("", "LinearAttention"),
        (_MICROSOFT, "DecoderMaskedMultiHeadAttention"),
        (_MICROSOFT, "GroupQueryAttention"),
        (_MICROSOFT, "MatMulBnb4"),
        (_MICROSOFT, "MoE"),
        (_MICROSOFT, "PackedAttention"),
        (_MICROSOFT, "QAttention"),
        (_MICROSOFT, "QMoE"),
        (_MICROSOFT, "SparseAttention"),
    }
)
