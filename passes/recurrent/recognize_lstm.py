"""recognize-lstm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.recurrent._lstm import lstm_cells
from onnxopt_passes.recurrent._recognize import PRODUCTS, recognize


@dataclass(frozen=True)
class RecognizeLstm(Pass):
    """``c' = f∘c + i∘g``, ``h' = o∘tanh(c')``, step by step, is one ``LSTM`` over the sequence.

    A step is recognised by what it computes: each gate is an activation of
    ``x·W + h·R + b`` with constant weights. The gates may stand in any order, in one matrix
    product or in several, ``x`` and ``h`` joined or apart, the products of all inputs done before
    the steps; ``i`` may be ``1 - f``. The steps follow each other in the graph, or are the body
    of a ``Loop`` or ``Scan`` that provably runs once for each position. Inputs that are positions
    of one tensor are read as that tensor, forwards or backwards; others are stacked. Refused where
    a cell state in the middle is read elsewhere, where an input depends on an earlier state, and
    where the batch of the first state is not known to be that of the input.
    """

    looks_for = PRODUCTS

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Replace loops first, then unrolled sequences."""
        yield from recognize(model, lstm_cells)
