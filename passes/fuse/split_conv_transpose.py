"""split-conv-transpose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import onnx_ir as ir

from onnxopt.graph import Editor, attribute, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._convolution import Convolution, read_convolution
from onnxopt_passes.fuse._phases import Geometry, Phases, interleave
from onnxopt_passes.fuse._window import bias_of, read_window, rounded

_SLICE_BY_INPUTS = 10
_RANK = 4


@dataclass(frozen=True)
class SplitConvTranspose(Pass):
    """``ConvTranspose(x, T, b)[f·i + a] = Σ_j T[a + f·j]·x[i - j] + b``, each phase ``a`` a Conv.

    For images, one stride ``f ≥ 2`` along both axes, no dilation, one group and constant weights:
    all phases are one Conv with ``f²`` times the channels, which DepthToSpace interleaves. Where
    the kernel is as large as the stride the Conv is 1×1; where it is twice as large, 2×2.

    With ``overlapping`` only kernels of two strides or more are taken, and only whole multiples:
    on ONNX Runtime's CPU provider the float kernel is as fast for the others.
    """

    looks_for = frozenset({"ConvTranspose"})

    overlapping: bool = False

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Split each ConvTranspose."""
        editor = Editor(model)
        for node, version in nodes_with_opset(model):
            if is_op(node, "ConvTranspose"):
                note = self._split(editor, node, version)
                if note is not None:
                    yield note

    def _split(self, editor: Editor, node: ir.Node, version: int) -> Note | None:
        conv = read_convolution(node)
        if not isinstance(conv, Convolution):
            return None if conv is None else Note.refused(node, conv)
        found = read_phases(conv)
        if isinstance(found, str):
            return Note.refused(node, found)
        if found is None or (self.overlapping and not found.overlaps):
            return None
        geometry = found.geometry()
        if geometry is None:
            return Note.refused(node, "it crops whole taps")
        if geometry.is_cropped and version < _SLICE_BY_INPUTS:
            return Note.refused(node, f"opset {version} is too old to crop; raise-opset first")
        return _replace(editor, conv, found, geometry)


def read_phases(conv: Convolution) -> Phases | str | None:
    """A ConvTranspose as phases, a reason where something odd prevents it, None where it cannot
    be.
    """
    node, window = conv.node, read_window(conv)
    if len(conv.shape) != _RANK or conv.group != 1 or window is None:
        return None
    factor = window.strides[0]
    if window.strides != (factor, factor) or factor == 1 or set(window.dilations) != {1}:
        return None
    if "output_shape" in node.attributes:
        return "output_shape fixes its padding"
    extra = cast("list[int]", attribute(node, "output_padding", [0, 0]))
    end = (window.end[0] - int(extra[0]), window.end[1] - int(extra[1]))
    taps = conv.weight.numpy().astype("float64")
    return Phases(taps, factor, (window.begin[0], window.begin[1]), end)


def _replace(editor: Editor, conv: Convolution, phases: Phases, geometry: Geometry) -> Note:
    node, base = conv.node, label(conv.node)
    dtype = conv.weight.numpy().dtype
    bias = bias_of(conv)
    if bias is None:
        return Note.refused(node, "its bias is not constant")
    weight, shift = rounded(phases.weight(), dtype), rounded(phases.bias(bias), dtype)
    if weight is None or shift is None:
        return Note.refused(node, f"the weights do not fit {dtype}")
    inputs = [node.inputs[0], editor.constant(node, f"{base}/phase_weight", weight)]
    if bias.any():
        inputs.append(editor.constant(node, f"{base}/phase_bias", shift))
    attributes = {"kernel_shape": list(phases.size), "pads": list(geometry.pads)}
    spread = editor.insert_before(node, "Conv", inputs, f"{base}/phases", attributes, origin=[node])
    spread.type = node.outputs[0].type
    new = interleave(editor, node, spread, base, phases.factor, geometry.crops)
    editor.replace(node.outputs[0], new)
    editor.sweep(node)
    return Note.applied(new, f"became a Conv of {phases.factor**2} phases")
