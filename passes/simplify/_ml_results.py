"""Types and shapes of what ai.onnx.ml's operators give, which onnx's inference leaves open."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxopt.graph import attribute

_DOMAIN = "ai.onnx.ml"
_ROWS = 2
_TARGETS = {"LinearRegressor": "targets", "TreeEnsembleRegressor": "n_targets", "SVMRegressor": ""}
"""Regressors, which give a row of floats for each row; the attribute that says how many."""


def annotate_ml_results(model: ir.Model) -> Iterator[ir.Value]:
    """Write down what the operators' definitions say; gives the values that it was news for."""
    for graph in (model.graph, *model.graph.subgraphs()):
        for node in graph:
            if node.domain == _DOMAIN and node.inputs and node.inputs[0] is not None:
                yield from _annotate(node, node.inputs[0])


def _annotate(node: ir.Node, source: ir.Value) -> Iterator[ir.Value]:
    made = node.outputs[0]
    dtype, shape = _result(node, source)
    if made.is_graph_output() or dtype is None:
        return
    is_news = made.type is None or (made.shape is None and shape is not None)
    if made.type is None:
        made.type = ir.TensorType(dtype)
    if made.shape is None and shape is not None and made.dtype == dtype:
        made.shape = shape
    if is_news:
        yield made


def _result(node: ir.Node, source: ir.Value) -> tuple[ir.DataType | None, ir.Shape | None]:
    shape = source.shape
    if node.op_type in ("Scaler", "Normalizer"):
        return ir.DataType.FLOAT, None if shape is None else shape.copy()
    if node.op_type == "Imputer":
        return source.dtype, None if shape is None else shape.copy()
    if node.op_type in _TARGETS:
        count = attribute(node, _TARGETS[node.op_type], 1)
        if shape is None or len(shape) != _ROWS or not isinstance(count, int):
            return ir.DataType.FLOAT, None
        return ir.DataType.FLOAT, ir.Shape([shape[0], count])
    return None, None
