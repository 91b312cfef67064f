"""Steps of simple recurrent cells: ``h' = f(x·W + h·R + b)``."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxopt.graph import is_op
from onnxopt_passes.recurrent._cell import Cell, has_matrices
from onnxopt_passes.recurrent._operator import operator_cells
from onnxopt_passes.recurrent._trace import Trace, activation_of

_MOST = 3
"""More leaves than an input and a state, or two inputs and a state, are no simple cell."""


def simple_cells(trace: Trace, node: ir.Node) -> Iterator[Cell]:
    """An activation read as the new state of a simple recurrent cell."""
    yield from operator_cells(trace, node, "RNN")
    if not is_op(node, "Tanh", "Relu", "Sigmoid", "HardSigmoid", "LeakyRelu", "Elu", "Softsign"):
        return
    activation, gate = activation_of(node), trace.gate(node.outputs[0])
    if activation is None or gate is None:
        return
    leaves = {leaf for leaf, _ in gate.affine.terms}
    if len(leaves) <= _MOST and has_matrices(trace, [gate.affine]):
        yield Cell("RNN", (activation,), (gate.affine,), node.outputs[0])
