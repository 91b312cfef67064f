"""dequantize-model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxopt.exactness import Exactness
from onnxopt.graph import Editor, all_graphs, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.quantize._already import quantized_formats
from onnxopt_passes.quantize._undo_codes import CodeUndoer
from onnxopt_passes.quantize._undo_dynamic import undo_dynamic


@dataclass(frozen=True)
class DequantizeModel(Pass):
    """``DQ(Q(x)) = s (clip(round(x / s) + z) - z)`` → ``clip(x)``, and codes of weights → numbers.

    Makes a float32 model of one in QDQ or QOperator form, of one quantized dynamically, and of one
    with weights in blocks. Weights become exactly what their codes stand for: what rounding them
    lost stays lost. Activations are no longer rounded. They still saturate, because much depends on
    it: a Relu or a HardSigmoid may be nothing but the end of a range. Codes that only move
    (Reshape, Concat, MaxPool…) or are read with another scale become numbers that do.

    What computes with codes in another way, and models whose inputs or outputs are codes, keep
    that part, with a note.

    Attributes:
        saturate: Whether a Clip stands where a QuantizeLinear did. Without it the model is faster,
            and right where no activation function depends on saturation.
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY

    saturate: bool = True

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Undo dynamic and weight-only forms, then those with codes between nodes."""
        before = quantized_formats(model)
        if not before:
            return
        editor, hits = Editor(model), 0
        for node, version in list(nodes_with_opset(model)):
            note = undo_dynamic(editor, node, version) if node.graph is not None else None
            if note is not None:
                hits += note.kind == "applied"
                yield note
        for graph in list(all_graphs(model)):
            for note in CodeUndoer(model, editor, graph, saturate=self.saturate).run():
                hits += note.kind == "applied"
                yield note
        left = quantized_formats(model)
        if left:
            kinds = " and ".join(f"{kind} ({count} nodes)" for kind, count in left.items())
            yield Note.refused(model.graph.name or "model", f"still quantized: {kinds}")
