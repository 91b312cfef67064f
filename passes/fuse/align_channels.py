"""align-channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, is_op, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._blocked import general_and_blocked
from onnxopt_passes.fuse._channel_region import ChannelRegion, channel_region
from onnxopt_passes.fuse._convolution import Convolution, read_convolution
from onnxopt_passes.fuse._shape import Layout, Layouts


@dataclass(frozen=True)
class AlignChannels(Pass):
    """``Conv(f(Conv(x, V)), W) = Conv(f(Conv(x, [V; 0])), [W, 0])`` with channels of zeros added.

    ONNX Runtime's CPU provider has its blocked kernels only for Convs whose input channels come in
    multiples of four, as a pruned network's seldom do. It computes blocks of sixteen channels in
    any case, so that the added ones cost nothing: 64 to 37 to 64 channels by 3x3 at 28 x 28 take
    529 us in place of 619, the 74 channels of an inverted residual with a depthwise 3x3 77 in
    place of 197.

    All Convs, depthwise ones included, are widened that the same channels pass through; where
    anything else asks for the channels as they are, the tensor is left to pad-odd-channels. Of
    depthwise Convs the general kernel takes two to four times as long. Where there is none, the
    Convs that read the channels decide: of 18 channels to 18, whole blocks are more than they save.

    Attributes:
        multiple: What the number of channels becomes a multiple of.
        above: With as few channels as this the kernels read them one by one.
        outputs: A Conv of fewer outputs does not count: there the general kernel is as fast.
        block: Channels and outputs that kernels compute at a time.
        copied: Products that take as long as copying a number of a window.
    """

    looks_for = frozenset({"Conv"})

    multiple: int = 4
    above: int = 16
    outputs: int = 8
    block: int = 16
    copied: int = 15

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Widen the region before each Conv that reads an odd number of channels."""
        editor, layouts = Editor(model), Layouts(model)
        seen: set[ir.Value] = set()
        for node, _ in nodes_with_opset(model):
            source = node.inputs[0] if is_op(node, "Conv") else None
            channels = None if source is None else self._odd_channels(layouts, node)
            if source is None or channels is None or source in seen:
                continue
            region = channel_region(layouts, source, channels)
            if isinstance(region, str):
                seen.add(source)
                yield Note.refused(node, f"its {channels} channels cannot grow: {region}")
                continue
            seen.update(region.values)
            if not self._pays(region):
                continue
            added = -channels % self.multiple
            region.widen(editor, added)
            convs = len({**region.makers, **region.readers, **region.between})
            yield Note.applied(
                node, f"{added} channels of zeros beside {channels} of {convs} Convs"
            )

    def _odd_channels(self, layouts: Layouts, node: ir.Node) -> int | None:
        conv = read_convolution(node)
        source = node.inputs[0]
        if not isinstance(conv, Convolution) or source is None:
            return None
        channels = conv.input_layout.channels or 0
        if channels <= self.above or channels % self.multiple == 0:
            return None
        return channels if layouts[source] == Layout(4, channels) else None

    def _pays(self, region: ChannelRegion) -> bool:
        if region.between:
            return True
        saved = 0.0
        for conv in region.readers.values():
            if conv.shape[0] >= self.outputs:
                general, blocked = general_and_blocked(conv.shape, self.copied, self.block)
                saved += general - blocked
        return saved > 0
