"""The words a kernel row may write in ``needs``: typed predicates on one node."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import onnx_ir as ir

from onnxopt.errors import UsageError
from onnxopt.graph import attribute, constant, is_constant, is_op, only_consumer, rank, scalar

_CURVES = ("Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "Mish", "Sigmoid", "Softplus", "Tanh")
_BLOCKED_MODES = ("half_pixel", "align_corners", "asymmetric")
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

Verdict = Literal[True] | str
"""True where a predicate holds, else the reason why not."""

Predicate = Callable[[ir.Node], Verdict]


def predicate(word: str) -> Predicate:
    """The predicate a word stands for.

    Raises:
        UsageError: The word is unknown.
    """
    if word not in _WORDS:
        raise UsageError(f"unknown need {word!r}", wanted=f"one of {', '.join(predicate_words())}")
    return _WORDS[word]


def predicate_words() -> tuple[str, ...]:
    """Every word that ``needs`` may hold, sorted."""
    return tuple(sorted(_WORDS))


def const_weight(node: ir.Node) -> Verdict:
    """Input 1 is a constant."""
    return is_constant(_input(node, 1)) or "its weight is not constant"


def const_bias(node: ir.Node) -> Verdict:
    """Input 2 is absent or a constant."""
    bias = _input(node, 2)
    return bias is None or is_constant(bias) or "its bias is not constant"


def weight_rank_2(node: ir.Node) -> Verdict:
    """Input 1 has two axes."""
    return _has_weight_rank(node, 2)


def weight_rank_3(node: ir.Node) -> Verdict:
    """Input 1 has three axes: a Conv over one spatial axis."""
    return _has_weight_rank(node, 3)


def dense(node: ir.Node) -> Verdict:
    """A Conv of one group."""
    return attribute(node, "group", 1) == 1 or "it is a grouped Conv"


def depthwise(node: ir.Node) -> Verdict:
    """A Conv with one input channel a group."""
    shape = _weight_shape(node)
    is_one = shape is not None and shape[1] == 1 and attribute(node, "group", 1) != 1
    return is_one or "it is no depthwise Conv"


def channels_of_4(node: ir.Node) -> Verdict:
    """A Conv with a multiple of 4 output channels."""
    return _has_channels_of(node, 4)


def channels_of_16(node: ir.Node) -> Verdict:
    """A Conv with a multiple of 16 output channels."""
    return _has_channels_of(node, 16)


def groups_at_least_64_channels(node: ir.Node) -> Verdict:
    """A Conv with 64 or more input channels a group."""
    shape = _weight_shape(node)
    is_wide = shape is not None and shape[1] >= 64
    return is_wide or "its groups have fewer than 64 channels"


def groups_of_16_channels(node: ir.Node) -> Verdict:
    """A Conv whose groups have a multiple of 16 input channels and of 16 output channels."""
    shape, group = _weight_shape(node), attribute(node, "group", 1)
    if shape is None or not isinstance(group, int):
        return "its weight is not constant"
    whole = shape[1] % 16 == 0 and shape[0] % (16 * group) == 0
    return whole or "its groups have no multiple of 16 channels"


def fewer_than_8_channels(node: ir.Node) -> Verdict:
    """A Conv with fewer than 8 input channels a group."""
    shape = _weight_shape(node)
    is_thin = shape is not None and shape[1] < 8
    return is_thin or "it has 8 input channels or more"


def plain_gemm(node: ir.Node) -> Verdict:
    """A Gemm with alpha = beta = 1 whose first operand is not transposed."""
    scaled = attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0
    plain = not scaled and attribute(node, "transA", 0) == 0
    return plain or "it scales its operands or transposes the first"


def bias_per_column(node: ir.Node) -> Verdict:
    """A Gemm whose input 2 is absent or has one number a column."""
    bias, weight = _input(node, 2), _weight_shape(node)
    if bias is None:
        return True
    columns = None if weight is None else weight[0 if attribute(node, "transB", 0) else 1]
    fits = bias.shape is not None and bias.shape.is_static() and _size(bias.shape) == columns
    return fits or "its bias does not hold one number a column"


def no_constant_operand(node: ir.Node) -> Verdict:
    """No input is a constant."""
    return not any(is_constant(value) for value in node.inputs) or "an operand is a constant"


def rank_4(node: ir.Node) -> Verdict:
    """Its activation is declared with four axes, as an image is."""
    found = [rank(value) for value in node.inputs if not is_constant(value)]
    return (bool(found) and found[0] == 4) or "its activation is not declared with four axes"


def rising(node: ir.Node) -> Verdict:
    """A HardSigmoid with a positive slope."""
    slope = attribute(node, "alpha", 0.2)
    return (isinstance(slope, float) and slope > 0) or "its slope is not positive"


def rising_line(node: ir.Node) -> Verdict:
    """``a x + b`` with constant numbers a > 0 and b, of the shape of x: Add, Sub, Mul, Div."""
    constants = [place for place, value in enumerate(node.inputs) if is_constant(value)]
    if len(constants) != 1 or (node.op_type in ("Sub", "Div") and constants != [1]):
        return "it does not combine a tensor with a constant"
    number, other = node.inputs[constants[0]], node.inputs[1 - constants[0]]
    found = scalar(number)
    if found is None or (node.op_type in ("Mul", "Div") and found <= 0):
        return "its constant is not one number, or is a factor that is not positive"
    return (rank(number) or 0) <= (rank(other) or 0) or "its constant may add axes"


def one_product(node: ir.Node) -> Verdict:
    """An Add of two activations, one of them a product that it alone reads."""
    found = product_of_sum(node)
    if found is None:
        return "neither operand is a product that it alone reads"
    others = [value for value in node.inputs if value is not found]
    return (len(others) == 1 and not is_constant(others[0])) or "the other operand is a constant"


def product_of_sum(node: ir.Node) -> ir.Value | None:
    """The first operand that a product with a constant weight makes for this node alone."""
    for value in node.inputs:
        producer = None if value is None else value.producer()
        if producer is None or not is_op(producer, *_PRODUCTS):
            continue
        if const_weight(producer) is True and only_consumer(producer.outputs[0]) is node:
            return value
    return None


def before_a_curve(node: ir.Node) -> Verdict:
    """Its output goes into a HardSwish, a Gelu, or a (Hard)Sigmoid and perhaps a Mul by it."""
    readers = [use.node for use in node.outputs[0].uses()]
    return any(is_op(reader, *_CURVES) for reader in readers) or "no curve follows it"


def of_silu(node: ir.Node) -> Verdict:
    """A Sigmoid that only a Mul with its own operand reads."""
    reader = only_consumer(node.outputs[0])
    gates = reader is not None and is_op(reader, "Mul") and node.inputs[0] in reader.inputs
    return gates or "it is multiplied by something else"


def whole_upscale(node: ir.Node) -> Verdict:
    """A linear Resize of 8 channels or more by whole numbers, as blocked kernels know it."""
    if attribute(node, "mode", "nearest") != "linear":
        return "it does not interpolate linearly"
    if attribute(node, "coordinate_transformation_mode", "half_pixel") not in _BLOCKED_MODES:
        return "no blocked kernel has its coordinates"
    factors = _factors(node)
    if not factors or any(factor < 1 or factor != round(factor) for factor in factors):
        return "its factors are not known to be whole"
    shape = node.outputs[0].shape
    channels = shape[1] if shape is not None and len(shape) == 4 else None
    return not isinstance(channels, int) or channels >= 8 or "it has fewer than 8 channels"


def _factors(node: ir.Node) -> list[float]:
    """By how much each axis grows; empty where that is not known."""
    scales = constant(_input(node, 2))
    if scales is not None and scales.size:
        return [float(factor) for factor in scales.reshape(-1)]
    before, after = (
        value.shape if value is not None else None for value in (node.inputs[0], node.outputs[0])
    )
    if before is None or after is None or len(before) != len(after) or len(before) < 3:
        return []
    pairs = list(zip(before.dims[2:], after.dims[2:], strict=True))
    numbers = [(b, a) for b, a in pairs if isinstance(b, int) and isinstance(a, int) and b]
    return [a / b for b, a in numbers] if len(numbers) == len(pairs) else []


def nearest(node: ir.Node) -> Verdict:
    """A Resize that only repeats or drops elements."""
    return attribute(node, "mode", "nearest") == "nearest" or "it interpolates"


def one_output(node: ir.Node) -> Verdict:
    """Only the first output is used."""
    used = [out for out in node.outputs[1:] if out.uses() or out.is_graph_output()]
    return not used or "its further outputs are used"


def _has_weight_rank(node: ir.Node, wanted: int) -> Verdict:
    shape = _weight_shape(node)
    return (shape is not None and len(shape) == wanted) or f"its weight has not {wanted} axes"


def _has_channels_of(node: ir.Node, block: int) -> Verdict:
    shape = _weight_shape(node)
    whole = shape is not None and shape[0] % block == 0
    return whole or f"it has no multiple of {block} output channels"


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _weight_shape(node: ir.Node) -> tuple[int, ...] | None:
    weight = _input(node, 1)
    if weight is None or not is_constant(weight):
        return None
    if weight.shape is not None and weight.shape.is_static():
        return tuple(int(dim) for dim in weight.shape.dims if isinstance(dim, int))
    array = constant(weight)
    return None if array is None else array.shape


def _size(shape: ir.Shape) -> int:
    return math.prod(dim for dim in shape if isinstance(dim, int))


_WORDS: dict[str, Predicate] = {
    word.__name__.replace("_", "-"): word
    for word in (
        before_a_curve,
        bias_per_column,
        channels_of_16,
        channels_of_4,
        const_bias,
        const_weight,
        dense,
        depthwise,
        fewer_than_8_channels,
        groups_at_least_64_channels,
        groups_of_16_channels,
        nearest,
        no_constant_operand,
        of_silu,
        one_output,
        one_product,
        plain_gemm,
        rank_4,
        rising,
        rising_line,
        weight_rank_2,
        weight_rank_3,
        whole_upscale,
    )
}
