"""spell-reciprocal-as-division."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._formulas import Formulas
from onnxopt_passes.fuse._shape import element_type

_KNOWN = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


@dataclass(frozen=True)
class SpellReciprocalAsDivision(Pass):
    """``Reciprocal(√v) = 1 / √v`` within normalizations that are spelled out.

    ONNX Runtime makes one kernel of an RMS normalization that divides, and knows none with
    Reciprocal, as torch's exporter writes it: 8 % of the time of small language models.
    """

    looks_for = frozenset({"Reciprocal"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Replace each Reciprocal that is part of a normalization."""
        editor = Editor(model)
        for found in Formulas(model).normalizations:
            nodes = sorted(found.nodes, key=label)
            dtype = element_type(nodes)
            for node in nodes:
                if is_op(node, "Reciprocal") and node.graph is not None:
                    yield _replace(editor, node, dtype)


def _replace(editor: Editor, node: ir.Node, dtype: ir.DataType | None) -> Note:
    if dtype is None or dtype not in _KNOWN:
        return Note.refused(node, f"no runtime is known to fuse normalizations in {dtype}")
    one = editor.constant(node, f"{label(node)}/one", np.array(1, dtype.numpy()))
    name = f"{label(node)}/division"
    new = editor.insert_before(node, "Div", [one, *node.inputs], name, origin=[node])
    editor.replace(node.outputs[0], new)
    editor.sweep(node)
    return Note.applied(new, "the reciprocal in a normalization became a division")
