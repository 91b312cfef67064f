"""convert-bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxopt.exactness import Exactness
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.precision._converting import Conversion, Wishes
from onnxopt_passes.precision._half import BFLOAT16
from onnxopt_passes.precision._kernels import COUNTING, WITHOUT_BFLOATS, WITHOUT_HALVES


@dataclass(frozen=True)
class ConvertBfloat16(Pass):
    """``y = f(x)`` in float32 → ``y ≈ f(x)`` in bfloat16: 8 bits of precision, float32's range.

    Every node of the main graph whose schema takes bfloat16 changes. What can overflow or underflow
    in bfloat16 could in float32 too, so no data is needed; it is used where there is some. Casts
    are placed by a minimum cut, one a tensor and type. Subgraphs and functions stay float32.

    For GPUs from Ampere on. ONNX Runtime's CPU provider has no bfloat16 kernels; CPUs with AMX run
    a float32 model in bfloat16 by a precision hint of the OpenVINO provider.

    Attributes:
        keep_io: Whether inputs and outputs of the model stay float32.
        keep_ops: Ops that stay float32; by default those that have no bfloat16 kernel on CUDA or
            that add up or count.
        keep: Nodes that stay float32, by name (``*`` and ``?`` allowed).
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY

    keep_io: bool = True
    keep_ops: tuple[str, ...] = (*COUNTING, *WITHOUT_HALVES, *WITHOUT_BFLOATS)
    keep: tuple[str, ...] = ()

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Convert the main graph."""
        wishes = Wishes(self.keep_io, self.keep_ops, self.keep, margin=1.0)
        yield from Conversion(model, BFLOAT16, wishes).run(context)
