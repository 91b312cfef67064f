"""split-conv-over-sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset, only_consumer
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._convolution import Convolution, read_convolution
from onnxopt_passes.fuse._low_rank import (
    FIRST_SCAN,
    LowRank,
    conv_per_sample,
    gated_kernels,
    read_low_rank,
)
from onnxopt_passes.fuse._phases import Geometry, Phases, interleave, over_upsampled
from onnxopt_passes.fuse._shape import Layouts
from onnxopt_passes.fuse._upsample import Upsample, read_upsample
from onnxopt_passes.fuse._window import Window, bias_of, read_window, rounded

_FIRST_OPSET = 10
"""Before it, Slice has no inputs for its bounds."""

_RANK = 4


@dataclass(frozen=True)
class _Sum:
    """A Conv over the sum of a low-rank image and an upsampled one, and their phases."""

    conv: Convolution
    window: Window
    low: LowRank
    upsample: Upsample
    phases: Phases
    geometry: Geometry
    version: int

    @property
    def saved(self) -> int:
        """Products an output number needs less."""
        channels, taps = self.conv.shape[1], self.window.taps
        rows, columns = self.phases.size
        return channels * (taps - rows * columns) - self.low.rank * taps


@dataclass(frozen=True)
class SplitConvOverSum(Pass):
    """``Conv(g ⊙ (W·v) + up_f(x), V) = Conv(v, V·g·W) + D_f(Conv(x, V'))``.

    Convolving a sum is the sum of two convolutions, which are cheaper together where one operand
    is computed from few channels ``v`` by a 1×1 Conv without bias, and the other repeats each
    position of an image ``f`` times along both axes (the top-down path of a feature pyramid).
    ``V·g·W`` are weights over ``v``, computed in the graph where there is a gate ``g`` (squeeze
    and excitation), for each sample in a Scan unless the batch is known to be 1; ``V'`` and ``D_f``
    as in split-conv-over-upsample. Nothing else may read the sum.

    ``least`` is how many products an output number must be spared.
    """

    looks_for = frozenset({"Conv"})

    least: int = 1

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each Conv that reads a sum."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in nodes_with_opset(model):
            if not is_op(node, "Conv") or version < _FIRST_OPSET:
                continue
            found = _read(layouts, node, version)
            if isinstance(found, str):
                yield Note.refused(node, found)
            elif found is not None and found.saved >= self.least:
                yield _replace(editor, found)


def _read(layouts: Layouts, node: ir.Node, version: int) -> _Sum | str | None:
    value = node.inputs[0]
    add = None if value is None else value.producer()
    if value is None or add is None or not is_op(add, "Add") or only_consumer(value) is not node:
        return None
    conv = read_convolution(node)
    if not isinstance(conv, Convolution) or conv.group != 1 or len(conv.shape) != _RANK:
        return None
    window = read_window(conv)
    if window is None or not window.slides_by_one:
        return None
    for image, other in (tuple(add.inputs), tuple(add.inputs)[::-1]):
        upsample = read_upsample(other.producer() if other is not None else None, version)
        if upsample is None or (upsample.factor or 1) < 2:
            continue
        if layouts[upsample.source].channels != conv.shape[1]:
            continue
        low = read_low_rank(layouts, image)
        if not isinstance(low, LowRank) or low.conv.shape[0] != conv.shape[1]:
            return low if isinstance(low, str) else None
        return _with_phases(conv, window, low, upsample, version)
    return None


def _with_phases(
    conv: Convolution, window: Window, low: LowRank, upsample: Upsample, version: int
) -> _Sum | None:
    weight = conv.weight.numpy().astype(np.float64)
    (top, left), (bottom, right) = window.begin, window.end
    phases = over_upsampled(weight, upsample.factor or 1, (top, left), (bottom, right))
    geometry = phases.geometry()
    if geometry is None or (low.gate is not None and version < FIRST_SCAN):
        return None
    return _Sum(conv, window, low, upsample, phases, geometry, version)


def _replace(editor: Editor, found: _Sum) -> Note:
    node, base = found.conv.node, label(found.conv.node)
    dtype = found.conv.weight.numpy().dtype
    bias = bias_of(found.conv)
    if bias is None:
        return Note.refused(node, "its bias is not constant")
    weight, shift = rounded(found.phases.weight(), dtype), rounded(found.phases.bias(bias), dtype)
    if weight is None or shift is None:
        return Note.refused(node, f"the weights do not fit {dtype}")
    image = _image(editor, found, base)
    if isinstance(image, str):
        return Note.refused(node, image)
    inputs = [found.upsample.source, editor.constant(node, f"{base}/phase_weight", weight)]
    if bias.any():
        inputs.append(editor.constant(node, f"{base}/phase_bias", shift))
    attributes = {"kernel_shape": list(found.phases.size), "pads": list(found.geometry.pads)}
    value = editor.insert_before(node, "Conv", inputs, f"{base}/phases", attributes, origin=[node])
    value.type = node.outputs[0].type
    spread = interleave(editor, node, value, base, found.phases.factor, found.geometry.crops)
    new = editor.insert_before(node, "Add", [image, spread], f"{base}/sum", origin=[node])
    editor.replace(node.outputs[0], new)
    editor.sweep(node)
    return Note.applied(new, f"convolves {found.low.rank} channels and phases at low resolution")


def _image(editor: Editor, found: _Sum, base: str) -> ir.Value | str:
    """The Conv of the low-rank operand."""
    conv, low, window = found.conv, found.low, found.window
    node, dtype = conv.node, conv.weight.numpy().dtype
    weight = conv.weight.numpy().astype(np.float64)
    attributes = {"kernel_shape": list(window.kernel), "pads": [*window.begin, *window.end]}
    merged = rounded(np.einsum("mckl,cr->mrkl", weight, low.matrix), dtype)
    if merged is None:
        return f"the weights do not fit {dtype}"
    source = _as_large(editor, found, base)
    if low.gate is None:
        kernels = editor.constant(node, f"{base}/merged_weight", merged)
    else:
        kernels = gated_kernels(editor, node, low, low.gate, weight, base)
    return conv_per_sample(
        editor,
        node,
        source,
        kernels,
        attributes,
        f"{base}/low_rank",
        one_sample=low.gate is None or low.one_sample,
        version=found.version,
    )


def _as_large(editor: Editor, found: _Sum, base: str) -> ir.Value:
    """What the low-rank operand is computed from, as large as the other operand.

    They are the same size, unless the sum broadcasts an image of one row or column: a Conv would
    not.
    """
    node, low, factor = found.conv.node, found.low, found.phases.factor
    ours, theirs = low.source.shape, found.upsample.source.shape
    if ours is not None and theirs is not None and len(ours) == len(theirs) == _RANK:
        sizes = [(ours[axis], theirs[axis]) for axis in (2, 3)]
        if all(isinstance(b, int) and a == factor * b for a, b in sizes):
            return low.source

    def add(op_type: str, inputs: list[ir.Value], suffix: str, **settings: int) -> ir.Value:
        value = editor.insert_before(node, op_type, inputs, f"{base}/{suffix}", settings)
        value.type = ir.TensorType(ir.DataType.INT64)
        return value

    def numbers(suffix: str, *values: int) -> ir.Value:
        return editor.constant(node, f"{base}/{suffix}", np.array(values, np.int64))

    shape = add("Shape", [found.upsample.source], "shape")
    size = add("Gather", [shape, numbers("image_axes", 2, 3)], "size")
    large = add("Mul", [size, numbers("factors", factor, factor)], "large")
    target = add("Concat", [numbers("ones", 1, 1), large], "target", axis=0)
    value = add("Expand", [low.source, target], "expanded")
    value.type = low.source.type
    return value
