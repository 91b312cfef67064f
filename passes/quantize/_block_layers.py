"""Layers and tables whose weights lie in blocks of few bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import (
    AttributeValue,
    Editor,
    attribute,
    constant,
    constant_tensor,
    label,
    only_consumer,
)
from onnxopt.transform import Note
from onnxopt_passes.fuse._gate import import_domain
from onnxopt_passes.fuse._linear import Linear, read_linear
from onnxopt_passes.fuse._shape import Layouts
from onnxopt_passes.quantize._blocks import Blocks, in_blocks
from onnxopt_passes.quantize._tables import obstacle as table_obstacle

_DOMAIN = "com.microsoft"
_TABLE_RANK = 2
_TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16})


@dataclass(frozen=True)
class BlockForm:
    """How weights are stored; see ``QuantizeWeights``."""

    bits: int
    block_size: int
    symmetric: bool
    accuracy_level: int

    def __str__(self) -> str:
        zero = "symmetric" if self.symmetric else "asymmetric"
        return f"int{self.bits} in {zero} blocks of {self.block_size}"


class BlockLayers:
    """Rewrites the linear layers and tables of one model."""

    def __init__(self, model: ir.Model, form: BlockForm, least: int) -> None:
        self._model = model
        self._editor = Editor(model)
        self._layouts = Layouts(model)
        self._form = form
        self._least = least
        self._made: dict[tuple[ir.Value, int, bool, float], list[ir.Value | None]] = {}

    def rewrite(self, node: ir.Node, *, is_wanted: bool) -> Note | None:
        """Quantize a node's weights; None where there is nothing to say."""
        if node.op_type == "Gather":
            return self._table(node, is_wanted=is_wanted)
        weights = constant_tensor(node.inputs[1]) if len(node.inputs) > 1 else None
        found = read_linear(node, self._layouts)
        if found is None or (weights is not None and weights.size < self._least):
            return None
        if isinstance(found, str) or not is_wanted:
            return Note.refused(node, found if isinstance(found, str) else "left as asked")
        reason = _layer_obstacle(found)
        if reason is not None:
            return Note.refused(node, reason)
        return self._layer(found)

    def _layer(self, found: Linear) -> Note:
        node, (rows, columns), name = found.node, found.shape, label(found.node)
        alpha = float(str(attribute(node, "alpha", 1.0)))
        codes = self._stored(node, node.inputs[1], found.transposed, alpha, found.matrix().T)
        bias = self._bias(found)
        inputs = [node.inputs[0], *codes, None, bias]
        attributes = {
            "K": rows,
            "N": columns,
            "bits": self._form.bits,
            "block_size": self._form.block_size,
            "accuracy_level": self._form.accuracy_level,
        }
        old = node.outputs[0] if bias is None else found.output
        self._replace(node, old, "MatMulNBits", inputs, attributes)
        return Note.applied(name, f"{rows}x{columns} weights in {self._form}")

    def _table(self, node: ir.Node, *, is_wanted: bool) -> Note | None:
        table = node.inputs[0]
        tensor = constant_tensor(table)
        if table is None or tensor is None or len(tensor.shape) != _TABLE_RANK:
            return None
        if tensor.dtype not in _TYPES or tensor.size < self._least:
            return None
        rows, columns = (int(str(size)) for size in tensor.shape)
        array, block = constant(table), self._form.block_size
        key = (table, id(node.graph), False, 1.0)
        reason = None if key in self._made else table_obstacle(table)
        if columns % block:
            reason = f"its {columns} columns are no multiple of the block of {block}"
        if not is_wanted or array is None:
            reason = "left as asked"
        if reason is not None or array is None:
            return Note.refused(node, reason or "")
        name = label(node)
        codes, *others = self._stored(node, table, False, 1.0, array.astype(np.float64))
        attributes = {"bits": self._form.bits, "block_size": block, "quantize_axis": 1}
        inputs = [codes, node.inputs[1], *others]
        self._replace(node, node.outputs[0], "GatherBlockQuantized", inputs, attributes)
        return Note.applied(name, f"a table of {rows}x{columns} in {self._form}")

    def _stored(
        self,
        node: ir.Node,
        weight: ir.Value | None,
        transposed: bool,
        factor: float,
        matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> list[ir.Value | None]:
        """Codes, scales and perhaps zero points of a matrix, made once for equal readings."""
        if weight is None:
            raise ValueError(f"{label(node)} has no weights")
        key = (weight, id(node.graph), transposed, factor)
        if key not in self._made:
            form = self._form
            blocks = in_blocks(matrix, form.block_size, form.bits, symmetric=form.symmetric)
            is_table = node.op_type == "Gather"
            self._made[key] = self._constants(node, weight, blocks, is_table=is_table)
        return self._made[key]

    def _constants(
        self, node: ir.Node, weight: ir.Value, blocks: Blocks, *, is_table: bool
    ) -> list[ir.Value | None]:
        name, codes = weight.name or label(node), blocks.packed()
        tensor = constant_tensor(weight)
        dtype = np.float16 if tensor and tensor.dtype == ir.DataType.FLOAT16 else np.float32
        if is_table:
            codes = codes.reshape(len(codes), -1)
        made: list[ir.Value | None] = [
            self._editor.constant(node, f"{name}/q", codes),
            self._editor.constant(node, f"{name}/scale", blocks.scales.astype(dtype)),
        ]
        zeros = blocks.packed_zero_points()
        if zeros is not None:
            made.append(self._editor.constant(node, f"{name}/zero_point", zeros))
        return made if is_table or zeros is not None else [*made, None]

    def _bias(self, found: Linear) -> ir.Value | None:
        """The layer's bias as [N]; None where it has none."""
        node, bias = found.node, found.bias()
        reader = found.adder if found.adder is not None else node
        given = next((v for v in reader.inputs if v is not None and constant(v) is not None), None)
        has_bias = found.adder is not None or (node.op_type == "Gemm" and len(node.inputs) > 2)
        if not has_bias or isinstance(bias, str):
            return None
        if found.adder is not None and only_consumer(node.outputs[0]) is not found.adder:
            return None
        base = given.name if found.adder is not None and given is not None else label(node)
        dtype = found.weight.numpy().dtype
        return self._editor.constant(node, f"{base}/row", bias.astype(dtype))

    def _replace(
        self,
        node: ir.Node,
        old: ir.Value,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: dict[str, int],
    ) -> None:
        given: dict[str, AttributeValue] = dict(attributes)
        while inputs[-1] is None:
            inputs = inputs[:-1]
        name = f"{label(node)}/nbits"
        last = old.producer() or node
        made = self._editor.insert_before(
            last, op_type, inputs, name, given, origin=[node], domain=_DOMAIN
        )
        import_domain(self._model, _DOMAIN)
        self._editor.replace(old, made)
        self._editor.sweep(last)


def _layer_obstacle(found: Linear) -> str | None:
    """Why a layer stays as it is."""
    if found.weight.dtype not in _TYPES:
        return f"MatMulNBits does not compute in {found.weight.dtype}"
    if not np.isfinite(found.matrix()).all():
        return "its weights hold NaN or infinity"
    bias = found.bias()
    return bias if isinstance(bias, str) else None
