"""shift-conv-weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, constant, drop_if_unread, nodes_with_opset, rewrite_constant
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.quantize._gains import shifted_ns
from onnxopt_passes.quantize._integer_conv import IntegerConv, integer_conv, writes_codes

_LOWEST = np.iinfo(np.int8).min
_SHIFT = np.int8(-1)
_INPUTS = 3  # of a DequantizeLinear


@dataclass(frozen=True)
class ShiftConvWeights(Pass):
    """``dq(w, s, 0) = dq(w - 1, s, -1)``: the same weights, which another kernel multiplies.

    For dense Convs in codes whose weight codes lie within -127 … 127. ONNX Runtime multiplies
    weights with zero point 0 by a kernel of its own, which knows AVX512-VNNI but not AMX; those
    with any other by the matrix product, which does, once the windows are copied side by side. On a
    machine with AMX a 3x3 Conv of 256 channels at 14 x 14 takes 169 us instead of 369, a pointwise
    one of 512 at 20 x 20 155 instead of 304; with few products an output the copies and the sums in
    int32 cost more than that gains. The target's figures decide; without a target it is done
    everywhere.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"DequantizeLinear"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Shift the weight of each Conv that gains by it."""
        editor, target = Editor(model), context.target
        for node, _ in nodes_with_opset(model):
            conv = integer_conv(node)
            if conv is None or not writes_codes(node) or conv.weight.dtype != np.int8:
                continue
            if target is not None:
                scheme = target.int8
                if scheme is None or shifted_ns(node, conv.weight.shape, 1.0, scheme) <= 0:
                    continue
            if conv.weight.min(initial=0) == _LOWEST:
                yield Note.refused(node, f"its weight has the code {_LOWEST}: no room for a shift")
                continue
            scale = constant(conv.reader.inputs[1])
            if scale is None:
                yield Note.refused(node, "the scale of its weight is no constant")
                continue
            _shift(editor, conv, scale.shape)
            yield Note.applied(node, "its weight has zero point -1: a matrix product computes it")


def _shift(editor: Editor, conv: IntegerConv, shape: tuple[int, ...]) -> None:
    reader = conv.reader
    rewrite_constant(conv.codes, conv.weight + _SHIFT)
    zero = editor.constant(reader, f"{conv.codes.name}/zero", np.full(shape, _SHIFT))
    conv.codes.name = editor.fresh(f"{conv.codes.name}/shifted")
    old = list(reader.inputs)
    reader.resize_inputs(_INPUTS)
    reader.replace_input_with(_INPUTS - 1, zero)
    for value in old[_INPUTS - 1 :]:
        if value is not None:
            drop_if_unread(value)
