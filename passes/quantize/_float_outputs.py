"""Integer products whose result leaves in float, and what keeps the runtime from spoiling them.

ONNX Runtime turns MatMul and an Add of a constant row into a Gemm with a float bias, which has no
integer kernel. It does not where the constant has the rank of the output: so the constant gets it,
and where the output has only two axes, it goes through codes.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, constant, is_constant, is_op, only_consumer, rank
from onnxopt_passes.quantize._qdq import let_read
from onnxopt_passes.quantize._units import Unit

_LEAST_RANK = 3


def leaves_float(unit: Unit, integer_readers: Container[ir.Value], axes: int | None) -> bool:
    """Whether a unit's output gets no codes: its kernel writes float and only float reads it.

    A kernel whose ``output`` is float leaves codes to those who read integers.

    Args:
        unit: The unit.
        integer_readers: Values that an integer node reads.
        axes: Rank of the unit's output; None where it is not known.
    """
    if unit.kernel.output == "float":
        return True
    outputs = unit.outputs
    if len(outputs) != 1 or not unit.kernel.float_output or outputs[0] in integer_readers:
        return False
    reader, row = _row_of(unit)
    if reader is None:
        return True
    return is_constant(row) and axes is not None and axes >= _LEAST_RANK


def keep_kernel(editor: Editor, unit: Unit, axes: int | None) -> None:
    """Give the row added to a float output the output's rank."""
    if not unit.kernel.float_output:
        return
    reader, row = _row_of(unit)
    array = constant(row)
    if reader is None or row is None or array is None or axes is None:
        return
    shaped = np.ascontiguousarray(array.reshape((1,) * (axes - 1) + array.shape))
    place = 1 if reader.inputs[1] is row else 0
    let_read(editor, reader, place, editor.constant(reader, f"{row.name}/row", shaped))


def _row_of(unit: Unit) -> tuple[ir.Node | None, ir.Value | None]:
    """The one reader of a MatMul, an Add, and what it adds, where that may be a row."""
    out = unit.outputs[0]
    reader = only_consumer(out)
    if unit.node.op_type != "MatMul" or reader is None or not is_op(reader, "Add"):
        return None, None
    row = reader.inputs[1 if reader.inputs[0] is out else 0]
    return (reader, row) if rank(row) in (None, 1) else (None, None)
