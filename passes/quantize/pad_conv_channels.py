"""pad-conv-channels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, constant, is_op, nodes_with_opset, rewrite_constant
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.quantize._qdq import let_read

_FIRST_OPSET = 13
"""Before it, Pad does not take integers."""
_ZERO_POINT = 2
_LEAST_OUTPUTS = 16
_ENDS = ("Relu", "Clip")


@dataclass(frozen=True)
class PadConvChannels(Pass):
    """``Conv(x, w) = Conv(pad(x), pad(w))`` with input channels added whose weights are zero.

    For a Conv in codes with few input channels, such as those of a picture. ONNX Runtime's direct
    integer kernel reads channels four at a time; a Conv of 3 goes through a matrix product over
    copied windows instead. With a fourth channel a 3x3 stem of stride 2 takes 212 us in place of
    460 (3 to 32 channels at 224 x 224), one of 7x7 961 in place of 1,147. The codes of the
    activation are padded with their zero point, which takes 13 us more.

    The kernel has outputs in multiples of four, from 16 on. Where the padding would add more than
    ``most`` products to an output, as to a window of 16x16, the matrix product is the faster.

    Attributes:
        multiple: Channels to read at a time.
        below: A Conv with as many input channels is left alone, whatever their number.
        most: Products that the padding may add to an output.
    """

    looks_for = frozenset({"DequantizeLinear"})

    multiple: int = 4
    below: int = 8
    most: int = 128

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Pad each Conv in codes that has few input channels."""
        padder = _Padder(Editor(model))
        for node, version in nodes_with_opset(model):
            stem = _read(node)
            if stem is None or stem.weight.shape[1] >= self.below:
                continue
            added = -stem.weight.shape[1] % self.multiple
            if not added or not _writes_codes(node):
                continue
            reason = self._reason_not(stem.weight, added, version)
            if reason is not None:
                yield Note.refused(node, reason)
                continue
            padder.pad(stem, added)
            yield Note.applied(node, f"reads {added} more input channels, of zeros")

    def _reason_not(self, weight: np.ndarray, added: int, version: int) -> str | None:
        outputs, products = weight.shape[0], added * math.prod(weight.shape[2:])
        if version < _FIRST_OPSET:
            return f"opset {version} is too old; raise-opset first"
        if outputs < _LEAST_OUTPUTS or outputs % self.multiple:
            return f"its {outputs} output channels do not suit the kernel"
        if products > self.most:
            return f"{products} more products an output take longer than they save"
        return None


@dataclass(frozen=True, eq=False)
class _Stem:
    """A dense Conv that reads codes of one scale, with a weight in codes that nothing else reads.

    Attributes:
        node: The Conv.
        source: What it reads.
        parameters: Codes, scale and zero point that this is made of.
        reader: The DequantizeLinear of its weight.
        codes: The constant that holds the weight's codes.
        weight: These codes.
    """

    node: ir.Node
    source: ir.Value
    parameters: tuple[ir.Value, ir.Value, ir.Value]
    reader: ir.Node
    codes: ir.Value
    weight: np.ndarray


@dataclass(frozen=True)
class _Padder:
    """Pads weights and, once each, activations."""

    editor: Editor
    padded: dict[tuple[ir.Value, int], ir.Value] = field(default_factory=dict)

    def pad(self, stem: _Stem, added: int) -> None:
        self._pad_weight(stem, added)
        key = (stem.source, added)
        if key not in self.padded:
            self.padded[key] = self._pad_source(stem, added)
        let_read(self.editor, stem.node, 0, self.padded[key])

    def _pad_weight(self, stem: _Stem, added: int) -> None:
        zeros = np.zeros_like(stem.weight, shape=(len(stem.weight), added, *stem.weight.shape[2:]))
        rewrite_constant(stem.codes, np.concatenate([stem.weight, zeros], axis=1))
        if stem.reader.outputs[0].type is not None:
            stem.reader.outputs[0].shape = stem.codes.shape

    def _pad_source(self, stem: _Stem, added: int) -> ir.Value:
        node, source, rank = stem.node, stem.source, stem.weight.ndim
        codes, scale, zero = stem.parameters
        name = f"{source.name}/padded"
        amounts = np.zeros(2 * rank, np.int64)
        amounts[rank + 1] = added
        pads = self.editor.constant(node, f"{name}/pads", amounts)
        made = self.editor.insert_before(
            node, "Pad", [codes, pads, zero], f"{name}/q", origin=[node]
        )
        real = self.editor.insert_before(
            node, "DequantizeLinear", [made, scale, zero], name, origin=[node]
        )
        for old, new in ((codes, made), (source, real)):
            new.type = old.type
            if old.type is not None and old.shape is not None and isinstance(old.shape[1], int):
                dims = list(old.shape)
                dims[1] = old.shape[1] + added
                new.shape = ir.Shape(dims)
        return real


def _read(node: ir.Node) -> _Stem | None:
    if not is_op(node, "Conv") or attribute(node, "group", 1) != 1:
        return None
    source, real = node.inputs[:2]
    first, reader = (None if v is None else v.producer() for v in (source, real))
    if source is None or first is None or not is_op(first, "DequantizeLinear"):
        return None
    if reader is None or not is_op(reader, "DequantizeLinear") or len(first.inputs) <= _ZERO_POINT:
        return None
    codes, scale, zero = first.inputs[:3]
    point = constant(zero)
    if codes is None or scale is None or zero is None or point is None or point.ndim:
        return None
    held = reader.inputs[0]
    weight = constant(held)
    shift = constant(reader.inputs[_ZERO_POINT]) if len(reader.inputs) > _ZERO_POINT else None
    if held is None or weight is None or (shift is not None and shift.any()):
        return None
    if len(held.uses()) > 1 or len(reader.outputs[0].uses()) > 1:
        return None
    return _Stem(node, source, (codes, scale, zero), reader, held, weight)


def _writes_codes(node: ir.Node) -> bool:
    """Whether all that reads a Conv puts it into codes: its kernel is an integer one."""
    readers = [use.node for use in node.outputs[0].uses()]
    if len(readers) == 1 and is_op(readers[0], *_ENDS):
        readers = [use.node for use in readers[0].outputs[0].uses()]
    return bool(readers) and all(is_op(reader, "QuantizeLinear") for reader in readers)
