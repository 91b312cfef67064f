"""merge-linear-convs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset, only_consumer
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._convolution import Convolution, read_convolution
from onnxopt_passes.fuse._phases import Array
from onnxopt_passes.fuse._window import Window, bias_of, read_window, rounded


@dataclass(frozen=True)
class _Merged:
    """The one convolution: weights and bias, its window and strides."""

    weight: Array
    bias: Array
    window: Window
    strides: tuple[int, ...]


@dataclass(frozen=True)
class MergeLinearConvs(Pass):
    """``Conv(Conv(x, V, a), W, b) = Conv(x, W·V, W·a + b)`` where one of the two is 1×1.

    ``(W·V)[m,c,k] = Σ_n W[m,n]·V[n,c,k]``, or with the 1×1 Conv first ``Σ_n W[m,n,k]·V[n,c]``.
    For ungrouped Convs with constant weights and nothing but the second reading the first, and
    only where the one Conv multiplies less than the two: a bottleneck is left alone. A bias of the
    first cannot pass zero padding of the second.
    """

    looks_for = frozenset({"Conv"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge into each Conv the one before it."""
        editor = Editor(model)
        for node, _ in nodes_with_opset(model):
            source = node.inputs[0] if is_op(node, "Conv") and node.inputs else None
            first = None if source is None else source.producer()
            if (
                source is None
                or first is None
                or not is_op(first, "Conv")
                or only_consumer(source) is not node
            ):
                continue
            note = _merge(editor, first, node)
            if note is not None:
                yield note


def _merge(editor: Editor, first_node: ir.Node, node: ir.Node) -> Note | None:
    first, second = read_convolution(first_node), read_convolution(node)
    if not isinstance(first, Convolution) or not isinstance(second, Convolution):
        return None
    if first.group != 1 or second.group != 1 or first.shape[0] != second.shape[1]:
        return None
    merged = _pointwise_second(first, second) or _pointwise_first(first, second)
    if merged is None or isinstance(merged, str):
        return None if merged is None else Note.refused(node, merged)
    return _write(editor, first, second, merged)


def _pointwise_second(first: Convolution, second: Convolution) -> _Merged | str | None:
    inner, outer = read_window(first), read_window(second)
    if inner is None or outer is None or outer.taps != 1 or outer.is_padded:
        return None
    positions = math.prod(outer.strides)
    if _saved(first, second, positions, inner.taps) <= 0:
        return None
    biases = _biases(first, second)
    if isinstance(biases, str):
        return biases
    matrix, taps = _weights(second)[:, :, 0], _weights(first)
    strides = tuple(a * b for a, b in zip(inner.strides, outer.strides, strict=True))
    weight = np.einsum("mn,nck->mck", matrix, taps)
    return _Merged(weight, matrix @ biases[0] + biases[1], inner, strides)


def _pointwise_first(first: Convolution, second: Convolution) -> _Merged | str | None:
    inner, outer = read_window(first), read_window(second)
    if inner is None or outer is None or not inner.is_pointwise:
        return None
    if _saved(first, second, math.prod(outer.strides), outer.taps) <= 0:
        return None
    biases = _biases(first, second)
    if isinstance(biases, str):
        return biases
    if biases[0].any() and outer.is_padded:
        return f"the bias of {label(first.node)} cannot pass the zero padding"
    matrix, taps = _weights(first)[:, :, 0], _weights(second)
    weight = np.einsum("mnk,nc->mck", taps, matrix)
    bias = np.einsum("mnk,n->m", taps, biases[0]) + biases[1]
    return _Merged(weight, bias, outer, outer.strides)


def _saved(first: Convolution, second: Convolution, positions: int, taps: int) -> int:
    """Products less for one output position, for which the first Conv computes ``positions``."""
    before = positions * math.prod(first.shape) + math.prod(second.shape)
    return before - second.shape[0] * first.shape[1] * taps


def _biases(first: Convolution, second: Convolution) -> tuple[Array, Array] | str:
    inner, outer = bias_of(first), bias_of(second)
    if inner is None or outer is None:
        return "a bias is not constant"
    return inner, outer


def _weights(conv: Convolution) -> Array:
    """``[M, C, taps]``."""
    return conv.weight.numpy().astype(np.float64).reshape(*conv.shape[:2], -1)


def _write(editor: Editor, first: Convolution, second: Convolution, merged: _Merged) -> Note:
    node, window, base = second.node, merged.window, label(second.node)
    dtype = second.weight.numpy().dtype
    shape = (*merged.weight.shape[:2], *window.kernel)
    weight, bias = rounded(merged.weight.reshape(shape), dtype), rounded(merged.bias, dtype)
    if weight is None or bias is None:
        return Note.refused(node, f"the weights do not fit {dtype}")
    inputs = [first.node.inputs[0], editor.constant(node, f"{base}/merged_weight", weight)]
    if bias.any() or len(node.inputs) > 2:
        inputs.append(editor.constant(node, f"{base}/merged_bias", bias))
    attributes = {
        "kernel_shape": list(window.kernel),
        "strides": list(merged.strides),
        "dilations": list(window.dilations),
        "pads": [*window.begin, *window.end],
    }
    name = label(first.node)
    new = editor.insert_before(
        node, "Conv", inputs, f"{base}/merged", attributes, origin=[first.node, node]
    )
    editor.replace(node.outputs[0], new)
    editor.sweep(node)
    return Note.applied(new, f"merged with {name} before it")
