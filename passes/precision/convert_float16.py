"""convert-float16."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxopt.exactness import Exactness
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.precision._converting import Conversion, Wishes
from onnxopt_passes.precision._half import FLOAT16
from onnxopt_passes.precision._kernels import COUNTING, WITHOUT_HALVES


@dataclass(frozen=True)
class ConvertFloat16(Pass):
    """``y = f(x)`` in float32 → ``y ≈ f(x)`` in float16: 11 bits of precision, up to 65504.

    Every node of the main graph whose schema takes float16 changes, but those around a tensor that
    the calibration data drives above ``margin * 65504`` or keeps wholly below 6.1e-5, and those
    that read a constant which float16 cannot hold: they stay float32, with a note. Nothing is
    clipped. Light nodes between such ones stay too where that saves Casts, which are placed by a
    minimum cut, one a tensor and type. Without data only constants are checked. Subgraphs and
    functions stay float32.

    For GPUs: ``keep_ops`` is what an H100 computed in float32, or left to the CPU, of the models
    that test each operator. ONNX Runtime's CPU provider has few float16 kernels and casts around
    the others: slower than float32.

    Attributes:
        keep_io: Whether inputs and outputs of the model stay float32.
        keep_ops: Ops that stay float32; by default those that have no float16 kernel on CUDA or
            that add up or count.
        keep: Nodes that stay float32, by name (``*`` and ``?`` allowed).
        margin: How much of float16's range the calibration data may use.
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY

    keep_io: bool = True
    keep_ops: tuple[str, ...] = (
        *COUNTING,
        *WITHOUT_HALVES,
        "GroupNormalization",
        "NegativeLogLikelihoodLoss",
        "SoftmaxCrossEntropyLoss",
        "Swish",
    )
    keep: tuple[str, ...] = ()
    margin: float = 0.5

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Convert the main graph."""
        wishes = Wishes(self.keep_io, self.keep_ops, self.keep, self.margin)
        yield from Conversion(model, FLOAT16, wishes).run(context)
