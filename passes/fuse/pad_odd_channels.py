"""pad-odd-channels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._blocked import general_and_blocked, up
from onnxopt_passes.fuse._convolution import Convolution, Folded, read_convolution

_FIRST_OPSET = 11
"""Before it, Pad has its amounts as an attribute."""

_RANK = 4
_LEAST_WINDOW = 3


@dataclass(frozen=True)
class PadOddChannels(Pass):
    """``Conv(x, W) = Conv(pad(x), pad(W))`` with input channels of zeros added.

    For a Conv of which ONNX Runtime's CPU provider has no blocked kernel, as its input channels are
    no multiple of four (the 129 bins of a spectrum, the 117 features of a cost volume). The
    general kernel computes 16 places at a time. Padding puts 129 to 32 channels by 3x3 1.3 to
    2.1 times ahead, to 128 1.15 to 1.4 times; 33 to 128 would lose a tenth, and to one output it
    would take twice as long. Convs of one tap are left alone: nothing is copied for these.

    Attributes:
        multiple: What the number of channels becomes a multiple of.
        above: With as few channels as this the kernels read them one by one.
        block: Channels and outputs that kernels compute at a time.
        copied: Products that take as long as copying a number of a window.
        moved: Products that take as long as padding a number and putting it into its block.
        least: Products that have to be saved, where the size of the output is known: the padding
            itself takes 2 us, as long as these.
    """

    looks_for = frozenset({"Conv"})

    multiple: int = 4
    above: int = 16
    block: int = 16
    copied: int = 15
    moved: int = 25
    least: int = 120_000

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Pad what each Conv of odd channels reads, once for all that read the same."""
        padder = _Padder(Editor(model))
        for node, version in nodes_with_opset(model):
            conv = read_convolution(node) if node.op_type == "Conv" else None
            if not isinstance(conv, Convolution) or not self._is_odd(conv):
                continue
            if version < _FIRST_OPSET:
                yield Note.refused(node, f"opset {version} is too old; raise-opset first")
            elif self._pays(conv):
                added = -conv.shape[1] % self.multiple
                padder.pad(conv, added)
                yield Note.applied(node, f"reads {added} more input channels, of zeros")

    def _is_odd(self, conv: Convolution) -> bool:
        image = len(conv.shape) == _RANK and conv.weight.dtype == ir.DataType.FLOAT
        odd = conv.shape[1] > self.above and conv.shape[1] % self.multiple != 0
        return image and odd and conv.group == 1 and conv.node.inputs[0] is not None

    def _pays(self, conv: Convolution) -> bool:
        if math.prod(conv.shape[2:]) < _LEAST_WINDOW:
            return False
        general, blocked = general_and_blocked(conv.shape, self.copied, self.block)
        padded = blocked + self.moved * conv.shape[1]
        places = _places(conv.output)
        if places is None:
            return general > padded
        return general * up(places, self.block) - padded * places > self.least


def _places(value: ir.Value) -> int | None:
    """Height times width of an image, where known."""
    if value.shape is None or len(value.shape) != _RANK:
        return None
    height, width = value.shape[2], value.shape[3]
    return height * width if isinstance(height, int) and isinstance(width, int) else None


@dataclass(frozen=True)
class _Padder:
    """Pads weights and, once each, activations."""

    editor: Editor
    padded: dict[tuple[ir.Value, ir.Graph | ir.Function | None], ir.Value] = field(
        default_factory=dict
    )

    def pad(self, conv: Convolution, added: int) -> None:
        node, source = conv.node, conv.node.inputs[0]
        if source is None:
            return
        weight = conv.weight.numpy()
        amounts = [(0, 0), (0, added), *[(0, 0)] * (weight.ndim - 2)]
        Folded(conv, np.pad(weight, amounts), None).write(self.editor)
        key = (source, node.graph)
        if key not in self.padded:
            self.padded[key] = self._pad_source(node, source, added)
        node.replace_input_with(0, self.padded[key])

    def _pad_source(self, node: ir.Node, source: ir.Value, added: int) -> ir.Value:
        name = f"{source.name or label(node)}/padded"
        amounts = np.zeros(2 * _RANK, np.int64)
        amounts[_RANK + 1] = added
        pads = self.editor.constant(node, f"{name}/pads", amounts)
        made = self.editor.insert_before(node, "Pad", [source, pads], name, origin=[node])
        made.type = source.type
        dims = [] if source.shape is None else list(source.shape)
        if len(dims) == _RANK and isinstance(dims[1], int):
            dims[1] += added
            made.shape = ir.Shape(dims)
        return made
