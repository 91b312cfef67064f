"""recognize-rnn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.recurrent._recognize import PRODUCTS, recognize
from onnxopt_passes.recurrent._simple import simple_cells


@dataclass(frozen=True)
class RecognizeRnn(Pass):
    """``h' = f(x·W + h·R + b)``, step by step, is one ``RNN`` over the sequence.

    ``f`` is any activation that the operator knows; the weights are constant. Unrolled steps and
    loops under the conditions of ``recognize-lstm``.
    """

    looks_for = PRODUCTS

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Replace loops first, then unrolled sequences."""
        yield from recognize(model, simple_cells)
