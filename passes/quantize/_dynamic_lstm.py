"""LSTMs whose matrices are int8 and whose activations are quantized as they come."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, constant, constant_tensor, label, record_origin
from onnxopt.targets import Int8Scheme
from onnxopt.transform import Note
from onnxopt_passes.fuse._gate import import_domain
from onnxopt_passes.quantize._numbers import quantize_weight, weight_scales

_SCHEME = Int8Scheme(activation="uint8")
_INPUT, _RECURRENT, _WEIGHTS = 1, 2, 8
_RANK = 3


class DynamicLstms:
    """Rewrites the LSTMs of one model."""

    def __init__(self, model: ir.Model, least_hidden: int) -> None:
        self._model = model
        self._editor = Editor(model)
        self._least = least_hidden

    def rewrite(self, node: ir.Node, version: int) -> Note | None:
        """Let DynamicQuantizeLSTM stand in for an LSTM."""
        reason = self._obstacle(node)
        if reason is not None:
            return Note.refused(node, reason)
        name, hidden = label(node), attribute(node, "hidden_size", 0)
        self._replace(node)
        return Note.applied(name, f"{hidden} hidden units in int8: DynamicQuantizeLSTM")

    def _obstacle(self, node: ir.Node) -> str | None:
        matrices = [constant_tensor(node.inputs[at]) for at in (_INPUT, _RECURRENT)]
        if any(tensor is None for tensor in matrices):
            return "its matrices are not constant"
        if any(tensor.dtype != ir.DataType.FLOAT for tensor in matrices if tensor is not None):
            return "DynamicQuantizeLSTM computes in float32 only"
        if any(len(tensor.shape) != _RANK for tensor in matrices if tensor is not None):
            return "its matrices do not have three axes"
        hidden = int(str(attribute(node, "hidden_size", 0)))
        if hidden < self._least:
            return f"{hidden} hidden units: from {self._least} integers are faster"
        if attribute(node, "layout", 0) != 0:
            return "DynamicQuantizeLSTM has no batch-first layout"
        arrays = [constant(node.inputs[at]) for at in (_INPUT, _RECURRENT)]
        if not all(array is not None and np.isfinite(array).all() for array in arrays):
            return "its matrices hold NaN or infinity"
        return None

    def _replace(self, node: ir.Node) -> None:
        inputs: list[ir.Value | None] = [*node.inputs]
        inputs += [None] * (_WEIGHTS - len(inputs))
        for at in (_INPUT, _RECURRENT):
            inputs[at], scale, zero_point = self._coded(node, at)
            inputs += [scale, zero_point]
        attributes = [attr for name, attr in node.attributes.items() if name != "layout"]
        outputs = len(node.outputs)
        name = self._editor.fresh(f"{label(node)}/int8")
        made = ir.Node(
            "com.microsoft", "DynamicQuantizeLSTM", inputs, attributes, num_outputs=outputs
        )
        made.name = name
        record_origin(made, [node])
        graph = node.graph
        if graph is None:
            raise ValueError(f"{label(node)} belongs to no graph")
        graph.insert_before(node, made)
        import_domain(self._model, "com.microsoft")
        for old, new in zip(node.outputs, made.outputs, strict=True):
            if old.name:
                self._editor.replace(old, new)
        self._editor.sweep(node)

    def _coded(self, node: ir.Node, at: int) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Codes [directions, columns, rows], scales and zero points [directions, rows]."""
        value, array = node.inputs[at], constant(node.inputs[at])
        if value is None or array is None:
            raise ValueError(f"{label(node)} has no matrix {at}")
        codes, scales = row_codes(array.astype(np.float32, copy=False))
        zeros = np.zeros(scales.shape, np.int8)
        name = value.name or f"{label(node)}/{at}"
        return (
            self._editor.constant(node, f"{name}/q", codes),
            self._editor.constant(node, f"{name}/scale", scales),
            self._editor.constant(node, f"{name}/zero_point", zeros),
        )


def row_codes(
    matrices: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Codes of [directions, rows, columns] as the kernel reads them, columns first.

    Returns:
        int8 [directions, columns, rows] and float32 scales [directions, rows].
    """
    made = []
    for matrix in matrices:
        scales = weight_scales(matrix, 0, _SCHEME)
        made.append((quantize_weight(matrix, 0, scales, _SCHEME).T, scales))
    codes = np.ascontiguousarray(np.stack([pair[0] for pair in made]))
    return codes, np.stack([pair[1] for pair in made])
