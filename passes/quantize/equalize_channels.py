"""Scales channels between layers so that one scale a tensor suits all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.comparing.scaling import ChannelScale, record
from onnxopt.exactness import Exactness
from onnxopt.graph import Editor
from onnxopt.transform import Context, Need, Note, Pass
from onnxopt_passes.quantize._balance import balance
from onnxopt_passes.quantize._chains import Chain, Chains
from onnxopt_passes.quantize._peaks import channel_peaks

_ENOUGH = 0.9


@dataclass(frozen=True)
class EqualizeChannels(Pass):
    """``W2 f(W1 x + b) = (W2 S) f(S^-1 (W1 x + b))`` for positive diagonal S and homogeneous f.

    ``f`` may be Relu, LeakyRelu, PRelu, pooling, a Clip from 0 without an upper bound, and an Add
    whose operands can all be scaled alike; Conv, ConvTranspose, MatMul and Gemm with constant
    weights of their own, in groups too, take the scales. Of several S between equal ranges of the
    activations and equal ranges of the weights the one is taken with the least expected noise of 8
    bits; where that is less than a tenth below the noise without, nothing is changed. A Clip with
    an upper bound, HardSwish and Sigmoid do not scale along.

    What the tensors in between were divided by is written into the graph's metadata.

    Cross-layer equalization: Nagel et al. (2019), "Data-Free Quantization", here with the ranges of
    activations measured.
    """

    exactness: ClassVar[Exactness] = Exactness.ROUNDING
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DATA})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Equalize the chains of a float model's main graph."""
        chains: list[Chain] = []
        for chain in Chains(model).find():
            if chain.reason:
                yield Note.refused(chain.makers[0].node, chain.reason)
            else:
                chains.append(chain)
        axes = {value.name or "": chain.axis for chain in chains for value in chain.values}
        peaks = channel_peaks(model, axes, context) if axes else {}
        editor = Editor(model)
        for chain in chains:
            yield _equalize(model, chain, peaks, editor)


def _equalize(
    model: ir.Model,
    chain: Chain,
    peaks: Mapping[str, npt.NDArray[np.float64]],
    editor: Editor,
) -> Note:
    node = chain.makers[0].node
    names = [value.name or "" for value in chain.values]
    found = [peaks[name] for name in names if name in peaks]
    if len(found) < len(names) or any(one.shape != (chain.channels,) for one in found):
        return Note.refused(node, "its tensors differ in their number of channels")
    best = balance(np.max(found, axis=0), chain.current_readers())
    if best is None:
        return Note.refused(node, "its output is zero or not finite on the calibration data")
    if best.noise > _ENOUGH:
        return Note.refused(node, "its channels are balanced as they are")
    reason = chain.scale(best.scale, editor)
    if reason:
        return Note.refused(node, reason)
    record(model, {name: ChannelScale(chain.axis, best.scale) for name in names})
    return Note.applied(node, f"expected noise times {best.noise:.2g}")
