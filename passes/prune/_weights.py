"""Which weights may get zeros, and who reads them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.counting import LayerWeight, layer_weights
from onnxopt.graph import all_nodes, is_op, label, rewrite_constant
from onnxopt.transform import Note
from onnxopt_passes.quantize._selection import Names

PrunableOp = Literal["Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"]
PRUNABLE: tuple[PrunableOp, ...] = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN",
)  # fmt: skip
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Prunable:
    """A weight that only wanted layers read.

    Attributes:
        value: The constant.
        readers: Where it is read; each sees the zeros.
    """

    value: ir.Value
    readers: tuple[LayerWeight, ...]

    @property
    def array(self) -> Array:
        """The weight as it stands."""
        return np.asarray(self.readers[0].tensor.numpy())

    @property
    def name(self) -> str:
        """The first layer that reads it."""
        return label(self.readers[0].node)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self.readers[0].tensor.size)

    def zeros(self) -> int:
        """How many elements are zero."""
        array = self.array
        return int(array.size - np.count_nonzero(array))

    def clear(self, mask: npt.NDArray[np.bool_]) -> int:
        """Put zeros where the mask says; how many are new."""
        array = self.array
        new = int(np.count_nonzero(array[mask]))
        if new:
            made = array.copy()
            made[mask] = 0
            rewrite_constant(self.value, made)
        return new


def find_prunable(
    model: ir.Model, op_types: Sequence[str], skip: Sequence[str]
) -> Generator[Note, None, list[Prunable]]:
    """The float weights of wanted layers, shared ones once, in graph order; notes on the others.

    Args:
        model: The model.
        op_types: Layers to prune.
        skip: Patterns of names of layers to leave dense.
    """
    names, nodes = Names(skip), list(all_nodes(model))
    places: dict[ir.Value, list[LayerWeight]] = {}
    for node in nodes:
        for weight in layer_weights(node):
            if node.op_type in op_types and not weight.is_float:
                yield Note.refused(node, "its weight is in codes: prune before quantizing")
            elif is_op(node, *op_types):
                places.setdefault(weight.value, []).append(weight)
    found = []
    for value, readers in places.items():
        reason = _obstacle(value, readers, names)
        if reason is None:
            found.append(Prunable(value, tuple(readers)))
        else:
            yield Note.refused(readers[0].node, reason)
    for pattern in names.unused(nodes):
        yield Note.refused(pattern, "no node has a name like this")
    return found


def _obstacle(value: ir.Value, readers: Sequence[LayerWeight], skipped: Names) -> str | None:
    """Why a weight stays dense; None where it may get zeros."""
    if any(reader.node in skipped for reader in readers):
        return "left dense as asked"
    if value.is_graph_output():
        return f"its weight {value.name} is an output of the graph"
    known = {(reader.node, reader.place) for reader in readers}
    others = [use.node for use in value.uses() if (use.node, use.idx) not in known]
    if others:
        return f"its weight {value.name} is also read by {label(others[0])} ({others[0].op_type})"
    return None
