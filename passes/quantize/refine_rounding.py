"""Rounds the weights of a quantized model so that errors cancel on real data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.exactness import Exactness
from onnxopt.graph import Editor
from onnxopt.transform import Context, Need, Note, Pass
from onnxopt_passes.quantize._evidence import Amount, Evidence, walk_layers
from onnxopt_passes.quantize._layers import Layer
from onnxopt_passes.quantize._refining import Part, steps
from onnxopt_passes.quantize._rounding import round_jointly
from onnxopt_passes.quantize._shrinking import shrunk_mean

Array = npt.NDArray[Any]
_LEAST_POSITIONS = 64
_HELD_OUT = 0.25
_BETTER = 0.999


@dataclass(frozen=True)
class RefineRounding(Pass):
    """Choose the codes Q of each weight that minimise ``|Y - Q X|^2``, layer after layer.

    ``X`` is what the layer reads in the quantized model, after all layers before it have been
    refined, ``Y`` what it computes in the original. First the weight moves from the original's by a
    ridge regression ``(Y - W X) X^T (X X^T + λ)^-1``, so that it makes up for the noise in its
    input; then it is rounded input by input, and what is left of each error is spread over the
    inputs not yet rounded. Layers that stayed in float move without being rounded. The strength λ
    is chosen, and a change kept, by the error on samples held out. Biases follow as in
    ``correct-bias``.

    Rounding: Frantar et al. (2022), "GPTQ"; regression on the original's outputs: Li et al. (2025),
    "GPTAQ", and Zhang et al. (2025), "Qronos".

    Attributes:
        samples: The most calibration samples to run.
        positions: The most output positions to look at, of each layer over all samples.
        strengths: The λ to choose from, as shares of the mean of the diagonal of ``X X^T``.
        most_inputs: Layers with more inputs to an output are only given a bias.
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DATA, Need.TEACHER})

    samples: int = 64
    positions: int = 8192
    strengths: tuple[float, ...] = (0.3, 1.0)
    most_inputs: int = 2304

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Refine the layers of a quantized model's main graph."""
        editor = Editor(model)
        for found in walk_layers(model, context, Amount(self.samples, self.positions)):
            note = found if isinstance(found, Note) else self._refine(found, editor)
            if note is not None:
                yield note

    def _refine(self, evidence: Evidence, editor: Editor) -> Note | None:
        layer = evidence.layer
        before, after = self._reweight(evidence)
        bias = layer.bias()
        if layer.can_set_bias():
            shift = shrunk_mean(evidence.offsets(layer.real()).reshape(-1, bias.size) - bias)
            reason = layer.set_bias(bias + shift, editor) if shift.any() else None
            if reason is not None:
                return Note.refused(layer.node, reason)
        elif before == after:
            return None
        return Note.applied(layer.node, f"error {before**0.5:.3g}, now {after**0.5:.3g}")

    def _reweight(self, evidence: Evidence) -> tuple[float, float]:
        """Change the weight if that helps; the squares of the errors before and after."""
        layer = evidence.layer
        fit, held = _parts(evidence)
        bias = layer.bias().reshape(layer.group, -1)
        before = held.error(layer.real(), bias)
        enough = min(fit.positions, held.positions) >= _LEAST_POSITIONS
        if layer.weight[0].size == 0 or not enough or fit.inputs.shape[-1] > self.most_inputs:
            return before, before
        weight = layer.grouped(layer.weight)
        moves = [np.zeros_like(weight)]
        moves += steps(fit.moments, fit.cross(weight, bias), self.strengths)
        moved = min((weight + move for move in moves), key=lambda w: held.error(w, bias))
        codes = _codes(layer, moved, fit.moments)
        after = held.error(codes * _spread(layer), bias)
        if after > before * _BETTER:
            return before, before
        layer.set_codes(codes)
        return before, after


def _codes(layer: Layer, weight: Array, moments: Array) -> Array:
    """Codes for a weight, ``grouped``; itself where the layer is in float."""
    if not layer.in_codes:
        return weight
    scales = layer.scales.astype(np.float64).reshape(layer.group, -1)
    return round_jointly(weight, scales, moments, layer.top)


def _spread(layer: Layer) -> Array:
    if not layer.in_codes:
        return np.ones(())
    return layer.scales.astype(np.float64).reshape(layer.group, -1, 1)


def _parts(evidence: Evidence) -> tuple[Part, Part]:
    """Positions to fit and, of other samples, to judge by."""
    cut = round(evidence.inputs.shape[1] * (1 - _HELD_OUT))
    centred = evidence.layer.can_set_bias()
    return (
        Part(evidence.inputs[:, :cut], evidence.wanted[:, :cut], centred),
        Part(evidence.inputs[:, cut:], evidence.wanted[:, cut:], centred),
    )
