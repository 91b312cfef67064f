"""Tables that only Gather reads, as codes that become numbers once they are fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, constant, constant_tensor, is_op, label
from onnxopt.targets import Int8Scheme
from onnxopt.transform import Note
from onnxopt_passes.quantize._numbers import quantize_weight, weight_scales

_SCHEME = Int8Scheme(activation="uint8")
_TABLE_RANK = 2


class CodedTables:
    """Rewrites the Gathers of one model."""

    def __init__(self, model: ir.Model, least: int) -> None:
        self._editor = Editor(model)
        self._least = least
        self._tables: dict[tuple[ir.Value, int], tuple[ir.Value, ir.Value]] = {}

    def rewrite(self, node: ir.Node, version: int) -> Note | None:
        """Fetch rows from a table of int8; None where there is nothing to say."""
        table = node.inputs[0]
        tensor = constant_tensor(table)
        if table is None or tensor is None or len(tensor.shape) != _TABLE_RANK:
            return None
        if tensor.dtype != ir.DataType.FLOAT or tensor.size < self._least:
            return None
        reason = None if (table, id(node.graph)) in self._tables else obstacle(table)
        if reason is not None:
            return Note.refused(node, reason)
        name, (rows, columns) = label(node), tensor.shape
        self._replace(node, table)
        return Note.applied(name, f"a table of {rows}x{columns} in int8, a scale a column")

    def _replace(self, node: ir.Node, table: ir.Value) -> None:
        codes, scales = self._coded(node, table)
        name, old = label(node), node.outputs[0]
        inputs = [codes, node.inputs[1]]
        attributes = {"axis": 0}
        rows = self._insert(node, "Gather", inputs, f"{name}/q", ir.DataType.INT8, attributes)
        real = self._insert(node, "Cast", [rows], f"{name}/float", ir.DataType.FLOAT, {"to": 1})
        made = self._insert(node, "Mul", [real, scales], f"{name}/scaled", ir.DataType.FLOAT)
        self._editor.replace(old, made)
        self._editor.sweep(node)

    def _insert(
        self,
        node: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        name: str,
        dtype: ir.DataType,
        attributes: Mapping[str, int] | None = None,
    ) -> ir.Value:
        made = self._editor.insert_before(
            node, op_type, inputs, name, dict(attributes or {}), origin=[node]
        )
        made.type, made.shape = ir.TensorType(dtype), node.outputs[0].shape
        return made

    def _coded(self, node: ir.Node, table: ir.Value) -> tuple[ir.Value, ir.Value]:
        key = (table, id(node.graph))
        if key not in self._tables:
            array = constant(table)
            if array is None:
                raise ValueError(f"{label(node)} has no table")
            numbers = array.astype(np.float64)
            scales = weight_scales(numbers, 1, _SCHEME)
            codes = quantize_weight(numbers, 1, scales, _SCHEME)
            self._tables[key] = (
                self._editor.constant(node, f"{table.name}/q", codes),
                self._editor.constant(node, f"{table.name}/scale", scales),
            )
        return self._tables[key]


def obstacle(table: ir.Value) -> str | None:
    """Why a table that a Gather reads stays in float."""
    others = [use.node for use in table.uses() if not _fetches_rows(use.node)]
    if others:
        return f"its table is read by {label(others[0])} too, which does not fetch rows"
    if table.is_graph_output():
        return "its table is an output of the model"
    array = constant(table)
    if array is None or not np.isfinite(array).all():
        return "its table holds NaN or infinity"
    return None


def _fetches_rows(node: ir.Node) -> bool:
    return is_op(node, "Gather") and attribute(node, "axis", 0) in (0, -_TABLE_RANK)
