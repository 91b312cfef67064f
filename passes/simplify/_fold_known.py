"""Constants in place of integers that follow from known sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.transform import Note
from onnxopt_passes.simplify._contents import Content
from onnxopt_passes.simplify._facts import facts_of
from onnxopt_passes.simplify._materialize import Materializer

_TYPES: dict[ir.DataType | None, np.dtype[Any]] = {
    ir.DataType.INT32: np.dtype(np.int32),
    ir.DataType.INT64: np.dtype(np.int64),
    ir.DataType.BOOL: np.dtype(np.bool_),
}


def reads_sizes(model: ir.Model) -> bool:
    """Whether anything is computed from sizes."""
    return any(edit.is_op(node, "Shape", "Size") for node in edit.all_nodes(model))


def fold_known(model: ir.Model, materializer: Materializer) -> Iterator[Note]:
    """Fold each small integer tensor all of whose elements are known, the last first."""
    facts = facts_of(model)
    nodes = [node for graph in edit.all_graphs(model) for node in graph]
    for node in reversed(nodes):
        if node.graph is None or len(node.outputs) != 1 or edit.is_op(node, "Constant"):
            continue
        value = node.outputs[0]
        content, dtype = facts.content(value), facts.dtype(value)
        if content is None or dtype not in _TYPES or not _is_known(content):
            continue
        if edit.use_count(value) or value.is_graph_output():
            array = content.astype(_TYPES[dtype])
            yield Note.applied(node, f"{node.op_type} of known sizes is {array.tolist()}")
            materializer.put(value, array)


def _is_known(content: Content) -> bool:
    return all(isinstance(x, int) for x in content.reshape(-1))
