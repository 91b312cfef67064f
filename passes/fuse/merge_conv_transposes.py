"""merge-conv-transposes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset, only_consumer
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._convolution import Convolution, read_convolution
from onnxopt_passes.fuse._phases import Array, interleave
from onnxopt_passes.fuse._window import bias_of, read_window, rounded
from onnxopt_passes.fuse.split_conv_transpose import read_phases

_WORTH = 40
"""Products by zero that one element less to interleave is worth, by measurement: with twice 2×2
that is a last step of at most three channels.
"""

_POINTWISE = (
    "Abs",
    "Clip",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Neg",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
)


@dataclass(frozen=True)
class _Stage:
    """A ConvTranspose without overlap, or a 1×1 Conv, and the pointwise nodes after it.

    ``taps`` are ``[C, M, f, f]`` with ``y[f·i + a] = Σ_c taps[c, m, a]·x[i]``.
    """

    conv: Convolution
    taps: Array
    bias: Array
    after: tuple[ir.Node, ...]

    @property
    def source(self) -> ir.Value:
        source = self.conv.node.inputs[0]
        if source is None:
            raise ValueError(f"{label(self.conv.node)} has no input")
        return source

    @property
    def factor(self) -> int:
        return int(self.taps.shape[2])

    @property
    def last(self) -> ir.Node:
        return self.after[-1] if self.after else self.conv.node


@dataclass(frozen=True)
class MergeConvTransposes(Pass):
    """``T₂(g(T₁(x))) = D(C₂(g(C₁(x))))``: ConvTransposes without overlap as 1×1 Convs.

    ``T`` are ConvTransposes of images whose kernel is their stride ``f``, ``g`` pointwise
    functions. ``C₁`` is a 1×1 Conv with ``f²`` times the channels, ``C₂`` one that keeps these
    phases apart (block-diagonal weights) and makes its own of each, and ``D`` one DepthToSpace at
    the end, after the last pointwise function. Each further step may also be a 1×1 Conv. Done
    where the products by zero are worth the elements that need no interleaving in the middle,
    which is where the last step has few channels.
    """

    looks_for = frozenset({"ConvTranspose"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge each chain that starts with a ConvTranspose."""
        editor = Editor(model)
        for node, _ in nodes_with_opset(model):
            if is_op(node, "ConvTranspose") and node.graph is not None:
                note = _merge(editor, node)
                if note is not None:
                    yield note


def _merge(editor: Editor, node: ir.Node) -> Note | None:
    stages: list[_Stage] = []
    factor = 1
    reader: ir.Node | None = node
    while reader is not None:
        stage = _read(reader)
        if stage is None or (stages and not _pays(stage, factor)):
            break
        stages.append(stage)
        factor *= stage.factor
        reader = only_consumer(stage.last.outputs[0])
    while len(stages) > 1 and stages[-1].factor == 1 and _grows(stages[-1]):
        stages.pop()
    if len(stages) < 2:
        return None
    return _replace(editor, stages)


def _read(node: ir.Node) -> _Stage | None:
    """The stage that starts at a node."""
    conv = read_convolution(node)
    if not isinstance(conv, Convolution):
        return None
    taps, bias = _taps(conv), bias_of(conv)
    if taps is None or bias is None:
        return None
    after: list[ir.Node] = []
    reader = only_consumer(node.outputs[0])
    while reader is not None and _keeps_positions(reader):
        after.append(reader)
        reader = only_consumer(reader.outputs[0])
    return _Stage(conv, taps, bias, tuple(after))


def _taps(conv: Convolution) -> Array | None:
    if conv.transposed:
        phases = read_phases(conv)
        if phases is None or isinstance(phases, str):
            return None
        plain = phases.begin == phases.end == (0, 0)
        square = phases.taps.shape[2:] == (phases.factor, phases.factor)
        return phases.taps if plain and square else None
    window = read_window(conv)
    if window is None or not window.is_pointwise or conv.group != 1 or len(window.kernel) != 2:
        return None
    return conv.weight.numpy().astype(np.float64).transpose(1, 0, 2, 3)


def _keeps_positions(node: ir.Node) -> bool:
    """Whether a node maps each number by itself, whatever its channel."""
    if not is_op(node, *_POINTWISE):
        return False
    return node.op_type == "Clip" or len(node.inputs) == 1


def _pays(stage: _Stage, factor: int) -> bool:
    """Whether a stage may follow ``factor²`` phases."""
    _, outputs, height, width = stage.taps.shape
    return bool((factor**2 - 1) * outputs * height * width <= _WORTH)


def _grows(stage: _Stage) -> bool:
    return bool(stage.taps.shape[1] >= stage.taps.shape[0])


def _replace(editor: Editor, stages: list[_Stage]) -> Note:
    node, last = stages[0].conv.node, stages[-1].last
    plans = []
    factor = 1
    for stage in stages:
        plan = _weights(stage, factor)
        if plan is None:
            return Note.refused(node, f"the weights of {label(stage.conv.node)} do not fit")
        plans.append(plan)
        factor *= stage.factor
    value = stages[0].source
    for stage, (weight, bias) in zip(stages, plans, strict=True):
        value = _emit(editor, last, stage, value, weight, bias)
    new = interleave(editor, last, value, label(last), factor)
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(
        new, f"{len(stages)} upsampling steps became 1×1 Convs and one interleaving"
    )


def _weights(stage: _Stage, factor: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Weights ``[…, factor²·C, 1, 1]`` and bias that act on ``factor²`` phases alike."""
    channels, outputs, own, _ = stage.taps.shape
    total = factor * own
    weight = np.zeros((total, total, outputs, factor, factor, channels))
    for row in range(factor):
        for column in range(factor):
            rows = slice(row * own, (row + 1) * own)
            columns = slice(column * own, (column + 1) * own)
            weight[rows, columns, :, row, column] = stage.taps.transpose(2, 3, 1, 0)
    dtype = stage.conv.weight.numpy().dtype
    flat = weight.reshape(total**2 * outputs, factor**2 * channels, 1, 1)
    both = rounded(flat, dtype), rounded(np.tile(stage.bias, total**2), dtype)
    return None if both[0] is None or both[1] is None else (both[0], both[1])


def _emit(
    editor: Editor,
    anchor: ir.Node,
    stage: _Stage,
    source: ir.Value,
    weight: np.ndarray,
    bias: np.ndarray,
) -> ir.Value:
    node, base = stage.conv.node, label(stage.conv.node)
    inputs = [source, editor.constant(anchor, f"{base}/phase_weight", weight)]
    if bias.any():
        inputs.append(editor.constant(anchor, f"{base}/phase_bias", bias))
    value = editor.insert_before(
        anchor, "Conv", inputs, f"{base}/phases", {"kernel_shape": [1, 1]}, origin=[node]
    )
    value.type = node.outputs[0].type
    for step in stage.after:
        attributes = dict(step.attributes)
        rest = list(step.inputs[1:])
        value = editor.insert_before(
            anchor, step.op_type, [value, *rest], f"{label(step)}/phases", attributes, origin=[step]
        )
        value.type = step.outputs[0].type
    return value
