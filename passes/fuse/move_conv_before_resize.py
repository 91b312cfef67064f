"""move-conv-before-resize."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, constant, is_op, label, nodes_with_opset, only_consumer
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._convolution import Convolution, read_convolution
from onnxopt_passes.fuse._upsample import read_scales
from onnxopt_passes.fuse._window import read_window

_RESIZE_WITH_MODES = 11
_SIZES = 3
_WORTH = 32
"""Products that one element less to interpolate is worth."""


@dataclass(frozen=True)
class MoveConvBeforeResize(Pass):
    """``Conv(Resize(x)) = Resize(Conv(x))`` for a 1×1 Conv: the Conv runs where the image is small.

    Interpolation (nearest, linear, cubic) adds up neighbours with weights whose sum is 1, the
    same for all channels, so that it commutes with a 1×1 Conv and its bias. Where the Resize
    enlarges, the Conv moves before it; where it shrinks, ``Resize(Conv(x)) = Conv(Resize(x))``.
    The scales must be constant and leave batch and channels alone, nothing else may read what
    lies in between, and what the Conv saves must be worth more channels to interpolate.
    """

    looks_for = frozenset({"Resize", "Upsample"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each Resize with a Conv beside it."""
        editor = Editor(model)
        for node, version in nodes_with_opset(model):
            if not is_op(node, "Resize", "Upsample") or node.graph is None:
                continue
            scale = _scale(node, version)
            if scale is None or scale == 1.0:
                continue
            conv = only_consumer(node.outputs[0]) if scale > 1.0 else _before(node)
            if conv is None or not _is_pointwise(conv) or not _pays(conv, scale):
                continue
            yield _swap(editor, node, conv) if scale > 1.0 else _swap(editor, conv, node)


def _scale(node: ir.Node, version: int) -> float | None:
    """By how much a Resize multiplies the number of positions; None where it may not move."""
    modern = is_op(node, "Resize") and version >= _RESIZE_WITH_MODES
    if attribute(node, "mode", "nearest") not in ("nearest", "linear", "cubic"):
        return None
    where = attribute(node, "coordinate_transformation_mode", "half_pixel")
    if modern and where == "tf_crop_and_resize":
        return None
    scales = read_scales(node, version)
    if scales is None or len(scales) < 3 or any(scale != 1.0 for scale in scales[:2]):
        return None
    up, down = max(scales[2:]), min(scales[2:])
    return math.prod(scales[2:]) if down >= 1.0 or up <= 1.0 else None


def _before(node: ir.Node) -> ir.Node | None:
    """The node that computes what a Resize alone reads."""
    value = node.inputs[0]
    return None if value is None or only_consumer(value) is not node else value.producer()


def _is_pointwise(node: ir.Node) -> bool:
    conv = read_convolution(node) if is_op(node, "Conv") else None
    window = read_window(conv) if isinstance(conv, Convolution) else None
    return window is not None and window.is_pointwise


def _pays(node: ir.Node, scale: float) -> bool:
    """Whether products saved outweigh channels to interpolate, both per position of the larger
    image.
    """
    conv = read_convolution(node)
    if not isinstance(conv, Convolution):
        return False
    outputs, inputs = conv.output_layout.channels or 0, conv.input_layout.channels or 0
    small = min(scale, 1.0 / scale)
    saved = (1.0 - small) * outputs * conv.shape[1]
    if scale > 1.0:
        return saved > _WORTH * (outputs - inputs)
    return saved > _WORTH * (inputs - outputs) * small


def _swap(editor: Editor, first: ir.Node, second: ir.Node) -> Note:
    """Let two neighbours change places; what the second computed keeps its name."""
    name = label(first)
    moved = _copy(editor, second, second, first, first.inputs[0])
    new = _copy(editor, first, second, second, moved)
    editor.replace(second.outputs[0], new)
    editor.sweep(second)
    return Note.applied(new, f"{second.op_type} moved before {name}")


def _copy(
    editor: Editor, node: ir.Node, anchor: ir.Node, other: ir.Node, source: ir.Value | None
) -> ir.Value:
    """A node over another source, before ``anchor``; ``other`` is its neighbour so far."""
    inputs = [source, *node.inputs[1:]]
    sizes = constant(inputs[_SIZES]) if len(inputs) > _SIZES else None
    conv = read_convolution(other)
    if sizes is not None and isinstance(conv, Convolution):
        moved_up = other is not anchor
        layout = conv.input_layout if moved_up else conv.output_layout
        own = np.concatenate([sizes[:1], [layout.channels or 0], sizes[2:]]).astype(np.int64)
        inputs[_SIZES] = editor.constant(anchor, f"{label(node)}/swapped_sizes", own)
    kept = dict(node.attributes.items())
    name = f"{label(node)}/swapped"
    value = editor.insert_before(anchor, node.op_type, inputs, name, kept, origin=[node])
    value.type = node.outputs[0].type
    return value
