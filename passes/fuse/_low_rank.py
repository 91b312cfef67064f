"""Maps computed from fewer channels by a linear 1×1 Conv, perhaps with a gate.

``a = g ⊙ (W·v)`` with constant ``W`` ``[C, r]`` and one gate ``g`` a sample and channel is linear
in ``v``; a Conv ``V`` over ``a`` is one over ``v`` with the weights ``Σ_c V[m,c,k]·g[n,c]·W[c,r]``,
which differ from sample to sample ``n``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import AttributeValue, Editor, is_op, label
from onnxopt_passes.fuse._convolution import Convolution, read_convolution
from onnxopt_passes.fuse._phases import Array
from onnxopt_passes.fuse._shape import Layouts
from onnxopt_passes.fuse._window import bias_of, read_window
from onnxopt_passes.fuse.factor_gated_residual import gate_path

AXES_BY_INPUT = 13
FIRST_SCAN = 9


@dataclass(frozen=True)
class LowRank:
    """``gate ⊙ (matrix · source)``; without a gate where it is None.

    Attributes:
        conv: The linear 1×1 Conv.
        gate: ``[N, C, 1, 1]``, pooled from what the Conv reads or computes.
        nodes: The nodes that compute it, gate left out.
    """

    conv: Convolution
    gate: ir.Value | None
    nodes: tuple[ir.Node, ...]

    @property
    def source(self) -> ir.Value:
        """What it is computed from, ``[N, r, H, W]``."""
        source = self.conv.node.inputs[0]
        if source is None:
            raise ValueError(f"{label(self.conv.node)} has no input")
        return source

    @property
    def matrix(self) -> Array:
        """``[C, r]``."""
        return self.conv.weight.numpy().astype(np.float64).reshape(self.conv.shape[:2])

    @property
    def rank(self) -> int:
        """Number of channels it is computed from."""
        return self.conv.shape[1]

    @property
    def one_sample(self) -> bool:
        """Whether the batch is known to hold one sample."""
        shape = self.source.shape
        return shape is not None and len(shape) > 0 and shape[0] == 1


def read_low_rank(layouts: Layouts, value: ir.Value | None) -> LowRank | str | None:
    """Read an image as a low-rank one; a reason where a bias prevents it."""
    node = None if value is None else value.producer()
    if node is None:
        return None
    if is_op(node, "Conv"):
        return _linear(node, None, (node,))
    if not is_op(node, "Mul") or len(node.inputs) != 2:
        return None
    for image, gate in (tuple(node.inputs), tuple(node.inputs)[::-1]):
        source = None if image is None else image.producer()
        if gate is None or source is None or not is_op(source, "Conv"):
            continue
        path = (
            gate_path(gate) if layouts[gate].channels == layouts[source.outputs[0]].channels else []
        )
        if path and path[-1].inputs[0] in (image, source.inputs[0]):
            return _linear(source, gate, (source, node))
    return None


def _linear(
    node: ir.Node, gate: ir.Value | None, nodes: tuple[ir.Node, ...]
) -> LowRank | str | None:
    conv = read_convolution(node)
    window = read_window(conv) if isinstance(conv, Convolution) else None
    if not isinstance(conv, Convolution) or window is None or not window.is_pointwise:
        return None
    if conv.group != 1 or len(conv.shape) != 4 or conv.shape[1] >= conv.shape[0]:
        return None
    bias = bias_of(conv)
    if bias is None or bias.any():
        return f"{label(node)} has a bias"
    return LowRank(conv, gate, nodes)


def gated_matrix(
    editor: Editor, anchor: ir.Node, low: LowRank, gate: ir.Value, base: str
) -> ir.Value:
    """``gate·W`` computed by nodes before ``anchor``: the weights ``[N, C, r, 1, 1]`` of a 1×1
    Conv, or ``[C, r, 1, 1]`` for one sample.
    """
    channels, rank = low.conv.shape[:2]
    row = [channels, 1, 1, 1] if low.one_sample else [0, channels, 1, 1, 1]
    matrix = low.matrix.reshape(channels, rank, 1, 1).astype(low.conv.weight.numpy().dtype)
    add = _Adder(editor, anchor, low, base)
    gates = add("Reshape", [gate, add.constant("gate_shape", np.array(row, np.int64))], "gates")
    return add("Mul", [add.constant("matrix", matrix), gates], "kernels")


def gated_kernels(
    editor: Editor, anchor: ir.Node, low: LowRank, gate: ir.Value, weight: Array, base: str
) -> ir.Value:
    """The weights of a Conv over a gated low-rank image as one over its source, computed by
    nodes before ``anchor``: ``[N, M, r, kh, kw]``, or ``[M, r, kh, kw]`` for one sample.
    """
    outputs, channels, height, width = weight.shape
    dtype = low.conv.weight.numpy().dtype
    taps = weight.reshape(outputs, channels, height * width).astype(dtype)
    inner, row = [1, low.rank, channels], [1, 1, channels]
    shape = [outputs, low.rank, height, width]
    if not low.one_sample:
        inner, row, shape = [1, *inner], [0, *row], [0, *shape]
    add = _Adder(editor, anchor, low, base)
    gates = add("Reshape", [gate, add.constant("gate_shape", np.array(row, np.int64))], "gates")
    matrix = add.constant("matrix", low.matrix.T.reshape(inner).astype(dtype))
    gated = add("Mul", [matrix, gates], "gated_matrix")
    product = add("MatMul", [gated, add.constant("taps", taps)], "products")
    whole = add.constant("kernel_shape", np.array(shape, np.int64))
    return add("Reshape", [product, whole], "kernels")


@dataclass(frozen=True)
class _Adder:
    """Adds nodes and constants before an anchor that compute weights of a low-rank map."""

    editor: Editor
    anchor: ir.Node
    low: LowRank
    base: str

    def __call__(self, op_type: str, inputs: list[ir.Value], suffix: str) -> ir.Value:
        name, nodes = f"{self.base}/{suffix}", self.low.nodes
        value = self.editor.insert_before(self.anchor, op_type, inputs, name, origin=nodes)
        value.type = self.low.source.type
        return value

    def constant(self, suffix: str, array: np.ndarray) -> ir.Value:
        return self.editor.constant(self.anchor, f"{self.base}/{suffix}", array)


def conv_per_sample(
    editor: Editor,
    anchor: ir.Node,
    source: ir.Value,
    kernels: ir.Value,
    attributes: dict[str, list[int]],
    base: str,
    *,
    one_sample: bool,
    version: int,
) -> ir.Value:
    """A Conv whose weights differ from sample to sample, before ``anchor``: a Scan over the
    batch, or just a Conv for one sample.
    """
    if one_sample:
        value = editor.insert_before(anchor, "Conv", [source, kernels], f"{base}/conv", attributes)
        value.type = source.type
        return value
    type_ = source.type or kernels.type
    image, kernel = (
        ir.Value(name=editor.fresh(f"{base}/{name}"), type=type_, shape=None)
        for name in ("sample", "kernel")
    )
    axis = editor.constant(anchor, f"{base}/sample_axis", np.array([0], np.int64))
    batch = _with_axes("Unsqueeze", image, axis, version)
    conv = ir.node("Conv", [batch.outputs[0], kernel], attributes)
    result = _with_axes("Squeeze", conv.outputs[0], axis, version)
    nodes = (batch, conv, result)
    for node, name in zip(nodes, ("as_batch", "conv", "result"), strict=True):
        node.name = node.outputs[0].name = editor.fresh(f"{base}/{name}")
        node.outputs[0].type = type_
    body = ir.Graph([image, kernel], [result.outputs[0]], nodes=nodes, name="sample")
    settings: dict[str, AttributeValue] = {"body": ir.AttrGraph("body", body), "num_scan_inputs": 2}
    value = editor.insert_before(anchor, "Scan", [source, kernels], f"{base}/samples", settings)
    value.type = source.type
    return value


def _with_axes(op_type: str, value: ir.Value, axis: ir.Value, version: int) -> ir.Node:
    if version < AXES_BY_INPUT:
        return ir.node(op_type, [value], {"axes": [0]})
    return ir.node(op_type, [value, axis])
