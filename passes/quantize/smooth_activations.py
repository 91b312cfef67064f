"""Moves outliers of activations into the weights that read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.comparing.scaling import ChannelScale, read, record
from onnxopt.exactness import Exactness
from onnxopt.graph import Editor, constant, is_constant, is_op, rewrite_constant
from onnxopt.transform import Context, Need, Note, Pass
from onnxopt_passes.fuse._affine import Affine
from onnxopt_passes.fuse._linear import Linear, read_linear
from onnxopt_passes.fuse._shape import Layouts
from onnxopt_passes.quantize._balance import balance
from onnxopt_passes.quantize._peaks import channel_peaks

_SUFFIX = "smooth"


@dataclass(frozen=True)
class SmoothActivations(Pass):
    """``x W = (x S^-1) (S W)`` for the tensors that MatMul and Gemm with constant weights read.

    Transformers have a few columns of activations far larger than the rest, so that one scale a
    tensor leaves the rest few codes; weights have a scale an output and room to spare. S is chosen
    among steps between even activations and even weights by the expected noise of 8 bits. Where
    the tensor comes from a LayerNormalization and nobody else reads it, ``S^-1`` goes into that;
    else into a Mul of its own, ``<name>/smooth``, a cost that is worth it only where the noise
    falls to a ``least`` share of what it was.

    Xiao et al. (2022), "SmoothQuant".

    Attributes:
        least: Share of the expected noise that must not be exceeded.
    """

    exactness: ClassVar[Exactness] = Exactness.ROUNDING
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DATA})

    least: float = 0.5

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Smooth what the linear layers of a float model's main graph read."""
        layouts = Layouts(model)
        readers: dict[ir.Value, list[Linear]] = {}
        for node in model.graph:
            layer = read_linear(node, layouts)
            source = node.inputs[0] if isinstance(layer, Linear) else None
            if isinstance(layer, Linear) and source is not None and not is_constant(source):
                readers.setdefault(source, []).append(layer)
        peaks = channel_peaks(model, {v.name or "": -1 for v in readers}, context)
        editor = Editor(model)
        for value, layers in readers.items():
            yield self._smooth(model, value, layers, peaks, editor)

    def _smooth(
        self,
        model: ir.Model,
        value: ir.Value,
        layers: list[Linear],
        peaks: Mapping[str, npt.NDArray[np.float64]],
        editor: Editor,
    ) -> Note:
        name = value.name or ""
        if (value.producer() is not None) and name.endswith(f"/{_SUFFIX}"):
            return Note.refused(name, "it has been smoothed")
        widths = {layer.shape[0] for layer in layers}
        if name not in peaks or widths != {peaks[name].size}:
            return Note.refused(name, "its number of columns is not known")
        best = balance(peaks[name], layers)
        if best is None or best.noise > self.least:
            return Note.refused(name, "its columns are balanced as they are")
        made = [layer.after(Affine.of(best.scale)) for layer in layers]
        reason = next((one for one in made if isinstance(one, str)), "")
        if reason:
            return Note.refused(name, reason)
        for one in made:
            if not isinstance(one, str):
                one.write(editor)
        known = read(model).get(name)
        if _fold(value, layers, best.scale):
            record(model, {name: ChannelScale(-1, best.scale)})
            return Note.applied(name, f"expected noise times {best.noise:.2g}, no cost")
        scaled = _divide(value, layers, best.scale, editor)
        total = best.scale if known is None else best.scale * known.scale
        record(model, {scaled.name or "": ChannelScale(-1, total)})
        return Note.applied(name, f"expected noise times {best.noise:.2g}, for one Mul")


def _fold(value: ir.Value, layers: list[Linear], scale: npt.NDArray[np.float64]) -> bool:
    """Divide the LayerNormalization that makes a value; False where that is not possible."""
    node = value.producer()
    nodes = {layer.node for layer in layers}
    if node is None or value.is_graph_output() or not is_op(node, "LayerNormalization"):
        return False
    if any(use.node not in nodes or use.idx for use in value.uses()):
        return False
    parameters = [v for v in node.inputs[1:] if v is not None]
    arrays = [constant(v) for v in parameters]
    if any(
        array is None or array.shape != scale.shape or len(v.uses()) > 1
        for array, v in zip(arrays, parameters, strict=True)
    ):
        return False
    for parameter, array in zip(parameters, arrays, strict=True):
        if array is not None:
            rewrite_constant(parameter, (array.astype(np.float64) / scale).astype(array.dtype))
    return True


def _divide(
    value: ir.Value, layers: list[Linear], scale: npt.NDArray[np.float64], editor: Editor
) -> ir.Value:
    """Let layers, given in graph order, read a value divided by a scale."""
    first = layers[0].node
    dtype = layers[0].weight.numpy().dtype
    name = f"{value.name}/{_SUFFIX}"
    factor = editor.constant(first, f"{name}/scale", (1 / scale).astype(dtype))
    made = editor.insert_before(first, "Mul", [value, factor], name, origin=[first])
    made.type, made.shape = value.type, value.shape
    for layer in layers:
        layer.node.replace_input_with(0, made)
    return made
