"""Moves the biases of a quantized model so that its channels keep their means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxopt.exactness import Exactness
from onnxopt.graph import Editor
from onnxopt.transform import Context, Need, Note, Pass
from onnxopt_passes.quantize._evidence import Amount, Evidence, walk_layers
from onnxopt_passes.quantize._shrinking import shrunk_mean


@dataclass(frozen=True)
class CorrectBias(Pass):
    """Add ``E[y] - E[q(y)]`` to the bias of each Conv, Gemm and MatMul, channel by channel.

    ``y`` is what the layer computes in the original model, ``q(y)`` what it computes in the
    quantized one, from inputs that all layers before it, corrected already, have made: rounding
    shifts means, and shifts add up on the way through a network. Layers that stayed in float are
    corrected too; what is wrong with their input is known by then. A mean is trusted only as far as
    the samples agree on it. A correction is left out where the int32 bias would overflow.

    Empirical bias correction: Nagel et al. (2019), "Data-Free Quantization", and Finkelstein et al.
    (2019), "Fighting Quantization Bias With Bias".

    Attributes:
        samples: The most calibration samples to run.
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DATA, Need.TEACHER})

    samples: int = 64

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Correct the layers of a quantized model's main graph."""
        editor = Editor(model)
        for found in walk_layers(model, context, Amount(self.samples)):
            note = found if isinstance(found, Note) else _correct(found, editor)
            if note is not None:
                yield note


def _correct(evidence: Evidence, editor: Editor) -> Note | None:
    layer = evidence.layer
    old = layer.bias()
    wanted = evidence.offsets(layer.real()).reshape(-1, old.size)
    shift = shrunk_mean(wanted - old)
    if not shift.any():
        return None
    reason = layer.set_bias(old + shift, editor)
    if reason is not None:
        return Note.refused(layer.node, reason)
    share = float(np.abs(shift).max() / max(np.abs(evidence.wanted_means).max(), 1e-30))
    return Note.applied(layer.node, f"moved means by up to {share:.2g} of the largest")
