"""quantize-dynamic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import onnx_ir as ir

from onnxopt.exactness import Exactness
from onnxopt.graph import nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.quantize._already import already_quantized
from onnxopt_passes.quantize._dynamic_linear import DynamicLinears
from onnxopt_passes.quantize._dynamic_lstm import DynamicLstms
from onnxopt_passes.quantize._selection import Names
from onnxopt_passes.quantize._tables import CodedTables

DynamicOp = Literal["MatMul", "Gemm", "LSTM", "Gather"]


@dataclass(frozen=True)
class QuantizeDynamic(Pass):
    """``x W + b = s_x s_W (q_x - z_x) q_W + b``, where s_x and z_x come from each x as it runs.

    W becomes int8 with a symmetric scale a column, x uint8 with a scale and a zero point of the
    whole tensor: what else is in a batch so changes a sample's result, and no calibration data is
    needed. In ONNX's own words it is DynamicQuantizeLinear, MatMulInteger, Cast and Mul, which
    ONNX Runtime fuses, with the Add of a bias, into DynamicQuantizeMatMul; where several products
    read one x, it is quantized once and each is a MatMulIntegerToFloat. On x86-64 with VNNI that is
    2.2 to 4.6 times faster than float from 256 by 256 weights up and never slower than it; uint8
    weights would be no faster than float.

    An LSTM of enough hidden units becomes DynamicQuantizeLSTM, with a scale a row of its matrices:
    0.9 times as fast as float at 32 hidden units, 1.2 at 64, 1.7 at 128, 2.8 at 256.
    A table that only Gather reads becomes int8 with a scale a column: a quarter of the size. The
    rows that were fetched are cast and multiplied, because DequantizeLinear with a scale a column
    takes six times as long.

    A Conv stays: ConvInteger is 3 to 10 times slower than float. So do weights with NaN or
    infinity, which codes cannot hold, and rows of activations so long that int32 would overflow.

    Attributes:
        op_types: Which ops.
        skip: Nodes to leave in float, by name (``*`` and ``?`` allowed).
        least: MatMul, Gemm and Gather with fewer weights stay as they are.
        least_hidden: An LSTM with fewer hidden units stays: its integer kernel is slower.
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY

    op_types: tuple[DynamicOp, ...] = ("MatMul", "Gemm", "LSTM", "Gather")
    skip: tuple[str, ...] = ()
    least: int = 4096
    least_hidden: int = 64

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Rewrite each node that gains."""
        yield from already_quantized(model)
        skipped, target = Names(self.skip), context.target
        rewriters = self._rewriters(model)
        seen = []
        for node, version in list(nodes_with_opset(model)):
            seen.append(node)
            rewriter = rewriters.get(node.op_type) if node.domain == "" else None
            if rewriter is None or node.graph is None:
                continue
            if node in skipped:
                yield Note.refused(node, "left in float as asked")
                continue
            if target is not None and node.op_type not in target.dynamic_ops:
                yield Note.refused(node, f"{target.name} has no kernel that quantizes as it runs")
                continue
            note = rewriter(node, version)
            if note is not None:
                yield note
        for pattern in skipped.unused(seen):
            yield Note.refused(pattern, "no node has a name like this")

    def _rewriters(self, model: ir.Model) -> Mapping[str, Callable[[ir.Node, int], Note | None]]:
        linears, tables = DynamicLinears(model, self.least), CodedTables(model, self.least)
        lstms = DynamicLstms(model, self.least_hidden)
        known = {
            "MatMul": linears.rewrite,
            "Gemm": linears.rewrite,
            "LSTM": lstms.rewrite,
            "Gather": tables.rewrite,
        }
        return {op_type: known[op_type] for op_type in self.op_types}
