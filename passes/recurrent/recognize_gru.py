"""recognize-gru."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.recurrent._gru import gru_cells
from onnxopt_passes.recurrent._recognize import PRODUCTS, recognize


@dataclass(frozen=True)
class RecognizeGru(Pass):
    """``h' = z∘h + (1 - z)∘n``, step by step, is one ``GRU`` over the sequence.

    With ``n = tanh(x·W + r∘(h·R + b))`` or ``n = tanh(x·W + (r∘h)·R + b)``, the gates ``z`` and
    ``r`` activations of ``x·W + h·R + b`` with constant weights, and the blend in any of its
    spellings (``n + z∘(h - n)``, ``z`` and ``1 - z`` exchanged). Unrolled steps and loops under
    the conditions of ``recognize-lstm``.
    """

    looks_for = PRODUCTS

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Replace loops first, then unrolled sequences."""
        yield from recognize(model, gru_cells)
