"""split-conv-over-upsample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._convolution import Convolution, read_convolution
from onnxopt_passes.fuse._phases import Array, Phases, interleave, over_upsampled
from onnxopt_passes.fuse._shape import Layouts
from onnxopt_passes.fuse._upsample import Upsample, read_upsample
from onnxopt_passes.fuse._window import Window, bias_of, read_window, rounded

_SLICE_BY_INPUTS = 10
_RANK = 4


@dataclass(frozen=True)
class _Part:
    """A part of what a Conv reads: its channels, and how it was upsampled (None: not at all)."""

    value: ir.Value
    channels: slice
    upsample: Upsample | None

    @property
    def factor(self) -> int:
        return 1 if self.upsample is None else self.upsample.factor or 1


@dataclass(frozen=True)
class _Split:
    """A Conv over parts, with the factor that all upsampled parts share."""

    conv: Convolution
    window: Window
    parts: tuple[_Part, ...]
    factor: int
    version: int

    @property
    def low(self) -> list[_Part]:
        return [part for part in self.parts if part.factor > 1]

    @property
    def high(self) -> list[_Part]:
        return [part for part in self.parts if part.factor == 1]

    def columns(self, parts: Sequence[_Part]) -> Array:
        """The weights that read some parts."""
        weight = self.conv.weight.numpy().astype(np.float64)
        return np.concatenate([weight[:, part.channels] for part in parts], axis=1)

    def phases(self) -> Phases:
        """What the Conv does to the upsampled parts before their last upsampling."""
        (top, left), (bottom, right) = self.window.begin, self.window.end
        return over_upsampled(self.columns(self.low), self.factor, (top, left), (bottom, right))

    def saved(self, phases: Phases) -> int:
        """Products an output number needs less."""
        channels = sum(part.channels.stop - part.channels.start for part in self.low)
        rows, columns = phases.size
        return int(channels) * (self.window.taps - rows * columns)


@dataclass(frozen=True)
class SplitConvOverUpsample(Pass):
    """``Conv(up_f(x), W) = D_f(Conv(x, W'))``: each phase of the output sees fewer positions.

    ``up_f`` repeats each position of an image ``f`` times along both axes (nearest Resize or
    Upsample), and ``D_f`` interleaves ``f²`` phases (DepthToSpace, and a Slice of the border).
    Taps of ``W`` that meet the same position are added up: ``W'`` has ``⌈(k+f-1)/f⌉`` taps an
    axis for ``k`` of ``W``: 2×2 for 3×3. What the Conv reads may also be a Concat along the
    channels of upsampled and other parts:
    ``Conv(Concat(v, up_f(x), up_fg(y))) = Conv(v) + D_f(Conv(Concat(x, up_g(y))))``.
    For Convs with constant weights, one group, strides and dilations 1.

    ``least`` is how many products an output number must be spared.
    """

    looks_for = frozenset({"Conv"})

    least: int = 1

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each Conv."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in nodes_with_opset(model):
            if is_op(node, "Conv") and node.inputs:
                note = self._split(editor, layouts, node, version)
                if note is not None:
                    yield note

    def _split(self, editor: Editor, layouts: Layouts, node: ir.Node, version: int) -> Note | None:
        conv = read_convolution(node)
        if not isinstance(conv, Convolution) or len(conv.shape) != _RANK or conv.group != 1:
            return None
        window = read_window(conv)
        if window is None or not window.slides_by_one:
            return None
        parts = _parts(layouts, node.inputs[0], conv, version)
        if isinstance(parts, str):
            return Note.refused(node, parts)
        factor = math.gcd(*(part.factor for part in parts if part.factor > 1)) if parts else 0
        if not parts or factor < 2:
            return None
        split = _Split(conv, window, tuple(parts), factor, version)
        phases = split.phases()
        if split.saved(phases) < self.least:
            return None
        return _replace(editor, split, phases)


def _parts(
    layouts: Layouts, value: ir.Value | None, conv: Convolution, version: int
) -> list[_Part] | str:
    """What a Conv reads, part by part; empty where nothing of it is upsampled."""
    node = None if value is None else value.producer()
    if value is None or node is None:
        return []
    total = conv.input_layout.channels or 0
    if not is_op(node, "Concat"):
        upsample = _square(read_upsample(node, version))
        return [] if upsample is None else [_Part(value, slice(0, total), upsample)]
    if attribute(node, "axis", 1) not in (1, 1 - _RANK):
        return []
    parts: list[_Part] = []
    start, unknown = 0, None
    for piece in node.inputs:
        if piece is None:
            return []
        upsample = _square(read_upsample(piece.producer(), version))
        channels = layouts[piece if upsample is None else upsample.source].channels
        unknown = piece if channels is None else unknown
        parts.append(_Part(piece, slice(start, start + (channels or 0)), upsample))
        start += channels or 0
    if all(part.upsample is None for part in parts):
        return []
    if unknown is not None:
        return f"the number of channels of {unknown.name} is unknown"
    return parts if start == total else "the channels do not add up"


def _square(upsample: Upsample | None) -> Upsample | None:
    """An upsampling of an image by one factor of at least 2."""
    if upsample is None or len(upsample.factors) != _RANK - 2 or (upsample.factor or 1) < 2:
        return None
    return upsample


def _replace(editor: Editor, split: _Split, phases: Phases) -> Note | None:
    node, base = split.conv.node, label(split.conv.node)
    bias, geometry = bias_of(split.conv), phases.geometry()
    if bias is None or geometry is None:
        return Note.refused(node, "its bias is not constant" if bias is None else "it is cropped")
    if geometry.is_cropped and split.version < _SLICE_BY_INPUTS:
        return Note.refused(node, f"opset {split.version} is too old to crop; raise-opset first")
    dtype = split.conv.weight.numpy().dtype
    own_bias = np.zeros_like(bias) if split.high else bias
    weight, shift = rounded(phases.weight(), dtype), rounded(phases.bias(own_bias), dtype)
    if weight is None or shift is None:
        return Note.refused(node, f"the weights do not fit {dtype}")
    source = _low(editor, split, base)
    inputs = [source, editor.constant(node, f"{base}/phase_weight", weight)]
    if own_bias.any():
        inputs.append(editor.constant(node, f"{base}/phase_bias", shift))
    attributes = {"kernel_shape": list(phases.size), "pads": list(geometry.pads)}
    value = editor.insert_before(node, "Conv", inputs, f"{base}/phases", attributes, origin=[node])
    value.type = node.outputs[0].type
    new = interleave(editor, node, value, base, split.factor, geometry.crops)
    if split.high:
        rest = _high(editor, split, base)
        new = editor.insert_before(node, "Add", [rest, new], f"{base}/sum", origin=[node])
    editor.replace(node.outputs[0], new)
    editor.sweep(node)
    return Note.applied(new, f"computes {split.factor**2} phases at low resolution")


def _low(editor: Editor, split: _Split, base: str) -> ir.Value:
    """The upsampled parts before their last upsampling by the common factor."""
    node = split.conv.node
    values: list[ir.Value] = []
    for part in split.low:
        upsample = part.upsample
        if upsample is None:
            continue
        rest = part.factor // split.factor
        value = upsample.source
        if rest > 1:
            value = _again(editor, node, upsample, rest)
        values.append(value)
    if len(values) == 1:
        return values[0]
    joined = editor.insert_before(node, "Concat", values, f"{base}/low", {"axis": 1})
    joined.type = node.outputs[0].type
    return joined


def _again(editor: Editor, anchor: ir.Node, upsample: Upsample, factor: int) -> ir.Value:
    """The same upsampling by a smaller factor."""
    node, base = upsample.node, label(upsample.node)
    scales = editor.constant(
        anchor, f"{base}/by_{factor}_scales", np.array([1, 1, factor, factor], np.float32)
    )
    attributes = {key: attr for key, attr in node.attributes.items() if key != "scales"}
    modern = is_op(node, "Resize") and len(node.inputs) > 2
    inputs = [upsample.source, node.inputs[1], scales] if modern else [upsample.source, scales]
    value = editor.insert_before(
        anchor, node.op_type, inputs, f"{base}/by_{factor}", attributes, origin=[node]
    )
    value.type = node.outputs[0].type
    return value


def _high(editor: Editor, split: _Split, base: str) -> ir.Value:
    """The Conv of the parts that were not upsampled, with the bias."""
    conv, node, window = split.conv, split.conv.node, split.window
    values = [part.value for part in split.high]
    source = values[0]
    if len(values) > 1:
        source = editor.insert_before(node, "Concat", values, f"{base}/high", {"axis": 1})
        source.type = node.outputs[0].type
    weight = split.columns(split.high).astype(conv.weight.numpy().dtype)
    inputs = [source, editor.constant(node, f"{base}/high_weight", weight), *node.inputs[2:]]
    attributes = {"kernel_shape": list(window.kernel), "pads": [*window.begin, *window.end]}
    value = editor.insert_before(node, "Conv", inputs, f"{base}/plain", attributes, origin=[node])
    value.type = node.outputs[0].type
    return value
