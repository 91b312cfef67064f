"""prune-n-of-m."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from pydantic import Field

from onnxopt.errors import RecipeError
from onnxopt.exactness import Exactness
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.prune._notes import ADVICE, layer_note, on_all
from onnxopt_passes.prune._scores import Scorer, scored
from onnxopt_passes.prune._weights import PRUNABLE, Prunable, PrunableOp, find_prunable

Kept = Annotated[int, Field(ge=1)]
GroupSize = Annotated[int, Field(ge=2)]


@dataclass(frozen=True)
class PruneNOfM(Pass):
    """``w[i] → 0`` but for the N greatest of every M neighbours: N:M (semi-structured) pruning.

    Mishra et al. (2021), "Accelerating Sparse Deep Neural Networks". Neighbours lie along the axis
    that a product sums over: a Conv's input channels at each tap, the K of MatMul and Gemm in
    either layout, the inputs and states of LSTM, GRU and RNN. A layer whose axis is no multiple of
    M stays dense, since kernels for the pattern take whole groups only; a depthwise Conv, which
    has one weight there, is such a layer. Weights that are zero already stay zero.

    2:4 is what the sparse tensor cores of NVIDIA GPUs run (TensorRT with sparse weights allowed).
    ONNX Runtime's CPU kernels gain no time by any N:M.

    Attributes:
        n: How many of each group stay, at most.
        m: Size of a group.
        score: ``magnitude`` or ``activation``, as for ``prune-magnitude``.
        op_types: Which layers.
        skip: Layers to leave dense, by name (``*`` and ``?`` allowed).
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY

    n: Kept = 2
    m: GroupSize = 4
    score: Literal["magnitude", "activation"] = "magnitude"
    op_types: tuple[PrunableOp, ...] = PRUNABLE
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.n >= self.m:
            raise RecipeError(f"prune-n-of-m: n={self.n} with m={self.m}", "n below m")

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Zero the least of each group; one note a layer, and one on them all."""
        found = yield from find_prunable(model, self.op_types, self.skip)
        weights, scorer = yield from scored(model, found, self.score, context)
        fitting, changed = [], 0
        for weight in weights:
            reason = self._obstacle(weight)
            if reason is not None:
                yield Note.refused(weight.name, reason)
                continue
            fitting.append(weight)
            new = weight.clear(self._mask(weight, scorer))
            changed += new
            if new:
                yield layer_note(weight, new)
        advice = f"of every {self.m} neighbours at most {self.n} stay; {ADVICE}"
        yield on_all(model, fitting, changed, advice)

    def _obstacle(self, weight: Prunable) -> str | None:
        axes = {reader.reduction_axis for reader in weight.readers}
        if len(axes) > 1:
            return "layers that share its weight sum over different axes of it"
        (axis,) = axes
        size = weight.readers[0].shape[axis]
        if size % self.m or not size:
            return f"its products sum over {size} channels, which is no multiple of {self.m}"
        if not np.isfinite(weight.array.astype(np.float32)).all():
            return "its weights hold NaN or infinity"
        return None

    def _mask(self, weight: Prunable, scorer: Scorer) -> npt.NDArray[np.bool_]:
        axis = weight.readers[0].reduction_axis
        keys = np.moveaxis(scorer.keys(weight), axis, -1)
        groups = keys.reshape(-1, self.m)
        order = np.argsort(groups, axis=1, kind="stable")
        mask = np.zeros(groups.shape, np.bool_)
        np.put_along_axis(mask, order[:, : self.m - self.n], values=True, axis=1)
        return np.moveaxis(mask.reshape(keys.shape), -1, axis)
