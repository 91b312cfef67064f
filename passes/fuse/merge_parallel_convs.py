"""merge-parallel-convs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import (
    Editor,
    attribute,
    constant,
    is_op,
    label,
    nodes_with_opset,
    only_consumer,
    record_origin,
)
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._affine import Affine, Step, read_batch_norm
from onnxopt_passes.fuse._convolution import Convolution, Folded, read_convolution

_FIRST_OPSET = 7
"""Before it, Add broadcasts by attributes."""
_BIAS = 2
Kernel = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MergeParallelConvs(Pass):
    """``Conv(x, W1, b1) + Conv(x, W2, b2) = Conv(x, W1 + W2, b1 + b2)``, and
    ``Conv(x, W, b) + x = Conv(x, W + I, b)``, likewise beside a BatchNormalization of x.

    The smaller kernel is padded with zeros to the size of the larger, which has to agree with how
    the two are padded; strides, dilations, groups and channels must be equal. The identity ``I``
    is a kernel of one tap, for a Conv that keeps the shape. These are the branches that
    re-parameterised networks train with.
    """

    looks_for = frozenset({"BatchNormalization", "Conv"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge the operands of every Add that allows it."""
        editor = Editor(model)
        for node, version in nodes_with_opset(model):
            if version < _FIRST_OPSET or not is_op(node, "Add") or node.graph is None:
                continue
            found = _merge(editor, node)
            if found is not None:
                yield found


def _merge(editor: Editor, node: ir.Node) -> Note | None:
    left, right = node.inputs
    if left is None or right is None or left is right:
        return None
    one, other = (_sole_conv(value) for value in (left, right))
    if one is not None and other is not None and one.node.inputs[0] is other.node.inputs[0]:
        return _merge_convs(editor, node, one, other)
    for conv, value in ((one, right), (other, left)):
        affine = None if conv is None else _affine(value, conv)
        if conv is not None and affine is not None:
            return _merge_identity(editor, node, conv, affine)
    return None


def _affine(value: ir.Value, conv: Convolution) -> Affine | None:
    """A value as an affine map of what a Conv reads: that itself, or its normalization."""
    source = conv.node.inputs[0]
    if value is source:
        return Affine.of()
    node = value.producer()
    if not is_op(node, "BatchNormalization") or node is None or node.inputs[0] is not source:
        return None
    step = read_batch_norm(node, conv.input_layout.channels)
    return step.affine if isinstance(step, Step) and only_consumer(value) is not None else None


def _sole_conv(value: ir.Value) -> Convolution | None:
    """The Conv that computes a value for one reader."""
    conv = read_convolution(value.producer())
    if not isinstance(conv, Convolution) or conv.transposed or only_consumer(value) is None:
        return None
    return conv


def _merge_convs(editor: Editor, node: ir.Node, one: Convolution, other: Convolution) -> Note:
    large, small = (one, other) if _volume(one) >= _volume(other) else (other, one)
    reason = _difference(large, small)
    margins = _margins(large, small)
    if reason is None and margins is None:
        reason = "their windows are not centred on one another"
    biases = [_bias(conv) for conv in (large, small)]
    if reason is None and any(bias is None for bias in biases):
        reason = "a bias is not constant"
    if reason is not None or margins is None:
        return Note.refused(node, f"{label(one.node)} and {label(other.node)}: {reason}")
    kernel = np.pad(_kernel(small), [(0, 0), (0, 0), *margins])
    bias = sum(bias for bias in biases if bias is not None)
    failure = _write(editor, node, large, _kernel(large) + kernel, np.asarray(bias))
    if failure is not None:
        return Note.refused(node, failure)
    editor.sweep(small.node)
    return Note.applied(large.node, f"took over the parallel {label(small.node)}")


def _merge_identity(
    editor: Editor, node: ir.Node, conv: Convolution, affine: Affine
) -> Note | None:
    taps = _centre(conv)
    if taps is None:
        return None
    first, second = conv.shape[:2]
    kernel = np.zeros(conv.shape)
    scale = np.broadcast_to(affine.scale, (first,))
    for channel in range(first):
        kernel[(channel, channel % second, *taps)] = scale[channel]
    bias = _bias(conv)
    if bias is None:
        return Note.refused(node, f"the bias of {label(conv.node)} is not constant")
    failure = _write(editor, node, conv, _kernel(conv) + kernel, bias + affine.shift)
    if failure is not None:
        return Note.refused(node, failure)
    return Note.applied(conv.node, "took over the identity beside it")


def _write(
    editor: Editor, node: ir.Node, conv: Convolution, weight: Kernel, bias: Kernel
) -> str | None:
    """Put new weights into a Conv and let it stand in for the Add; a reason where not."""
    dtype = conv.weight.numpy().dtype
    with np.errstate(all="ignore"):
        rounded, offset = weight.astype(dtype), bias.astype(dtype)
    if not (np.isfinite(rounded).all() and np.isfinite(offset).all()):
        return f"the result is not finite in {dtype}"
    operands = [value.producer() for value in node.inputs if value is not None]
    branches = [branch for branch in operands if is_op(branch, "Conv", "BatchNormalization")]
    record_origin(conv.node, [*(b for b in branches if b is not None), node])
    has_bias = len(conv.node.inputs) > _BIAS or bias.any()
    Folded(conv, rounded, offset if has_bias else None).write(editor)
    editor.replace(node.outputs[0], conv.output)
    editor.sweep(node)
    return None


def _kernel(conv: Convolution) -> Kernel:
    kernel: Kernel = conv.weight.numpy().astype(np.float64)
    return kernel


def _bias(conv: Convolution) -> Kernel | None:
    """The bias, zeros where there is none, None where it is not constant."""
    value = conv.node.inputs[_BIAS] if len(conv.node.inputs) > _BIAS else None
    if value is None:
        return np.zeros(conv.shape[0])
    array = constant(value)
    return None if array is None else array.astype(np.float64)


def _volume(conv: Convolution) -> int:
    return int(np.prod(conv.shape[2:]))


def _difference(one: Convolution, other: Convolution) -> str | None:
    """In what two convolutions differ that must agree."""
    if one.shape[:2] != other.shape[:2] or one.group != other.group:
        return "their channels or groups differ"
    if one.weight.dtype != other.weight.dtype:
        return "their types differ"
    rank = len(one.shape) - 2
    for name in ("strides", "dilations"):
        if _numbers(one, name, rank, 1) != _numbers(other, name, rank, 1):
            return f"their {name} differ"
    if any(attribute(conv.node, "auto_pad", "NOTSET") != "NOTSET" for conv in (one, other)):
        return "they pad by themselves (auto_pad)"
    return None


def _margins(large: Convolution, small: Convolution) -> list[tuple[int, int]] | None:
    """Zeros before and after the small kernel that put its taps where they were.

    Tap ``k`` of an axis reads position ``stride·i - pad + dilation·k``, so a kernel that starts
    ``d`` taps later is one whose padding is less by ``dilation·d``.
    """
    rank = len(large.shape) - 2
    found = []
    dilations = _numbers(large, "dilations", rank, 1)
    pads = [_numbers(conv, "pads", 2 * rank, 0) for conv in (large, small)]
    for axis in range(rank):
        before, rest = divmod(pads[0][axis] - pads[1][axis], dilations[axis])
        after = large.shape[2 + axis] - small.shape[2 + axis] - before
        shift = pads[0][rank + axis] - pads[1][rank + axis]
        if rest or before < 0 or after < 0 or shift != after * dilations[axis]:
            return None
        found.append((before, after))
    return found


def _centre(conv: Convolution) -> tuple[int, ...] | None:
    """The tap that reads the very position it writes; None where the Conv changes the shape."""
    rank = len(conv.shape) - 2
    if attribute(conv.node, "auto_pad", "NOTSET") != "NOTSET":
        return None
    pads = _numbers(conv, "pads", 2 * rank, 0)
    dilations = _numbers(conv, "dilations", rank, 1)
    taps = []
    for axis in range(rank):
        tap, rest = divmod(pads[axis], dilations[axis])
        reach = (conv.shape[2 + axis] - 1) * dilations[axis]
        if rest or tap >= conv.shape[2 + axis] or pads[axis] + pads[rank + axis] != reach:
            return None
        taps.append(tap)
    keeps = conv.shape[0] == conv.shape[1] * conv.group
    unit = all(stride == 1 for stride in _numbers(conv, "strides", rank, 1))
    return tuple(taps) if keeps and unit else None


def _numbers(conv: Convolution, name: str, count: int, default: int) -> list[int]:
    given = attribute(conv.node, name, [default] * count)
    return [int(str(number)) for number in given] if isinstance(given, list | tuple) else []
