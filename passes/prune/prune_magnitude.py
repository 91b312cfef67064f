"""prune-magnitude."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from onnxopt_passes.prune._scores import Keys, Scorer, least_keys, scored
from onnxopt_passes.prune._weights import PRUNABLE, Prunable, PrunableOp, find_prunable

Share = Annotated[float, Field(ge=0, lt=1)]
Least = Annotated[float, Field(ge=0)]
_HALF = 0.5
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PruneMagnitude(Pass):
    """``w[i] → 0`` for the weights with the least scores: unstructured pruning.

    Han et al. (2015), "Learning both Weights and Connections". Weights of Conv, ConvTranspose,
    Gemm, MatMul, LSTM, GRU and RNN; biases, norms and tables stay, and so does a weight that
    anything else reads. A shared weight counts once. Weights that are zero already count towards
    the amount and stay zero, so that the same step again changes nothing, and a schedule is a
    recipe: ``prune-magnitude{amount=0.3} | … | prune-magnitude{amount=0.5}``.

    ONNX Runtime computes with zeros as with any number: on a CPU this saves size under
    compression, not time. Where time is wanted, take out channels.

    Attributes:
        amount: Share of the weights that is zero afterwards; 0.5 where neither this nor
            ``threshold`` is given.
        threshold: Instead: the greatest score that becomes zero; of ``score`` = ``magnitude`` that
            is the weight itself.
        scope: Whether scores are compared over all layers, within each layer, or within the
            weights of each output channel.
        score: ``lamp`` compares a weight with those of its layer that would outlive it (Lee et al.
            2021), which matters for the global scope only: half of EfficientNet-Lite0's weights so
            leave it most of its accuracy, and by ``magnitude``, ``l1`` or ``l2`` none.
            ``magnitude`` is the absolute value, for which squares give the same order; ``l1`` and
            ``l2`` divide it by the layer's mean or root mean square; ``activation`` multiplies it
            by the root mean square of the channel that the weight reads, on calibration data
            (Sun et al. 2023, "Wanda", who compare within output channels).
        op_types: Which layers.
        skip: Layers to leave dense, by name (``*`` and ``?`` allowed).
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY

    amount: Share | None = None
    threshold: Least | None = None
    scope: Literal["global", "layer", "output"] = "global"
    score: Literal["lamp", "magnitude", "l1", "l2", "activation"] = "lamp"
    op_types: tuple[PrunableOp, ...] = PRUNABLE
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.amount is not None and self.threshold is not None:
            raise RecipeError("prune-magnitude: amount next to threshold", "one or the other")

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Zero the weights; one note a layer with what it holds now, and one on them all."""
        found = yield from find_prunable(model, self.op_types, self.skip)
        weights, scorer = yield from scored(model, found, self.score, context)
        changed = 0
        for weight, mask in zip(weights, self._masks(weights, scorer), strict=True):
            new = weight.clear(mask)
            changed += new
            if new:
                yield layer_note(weight, new)
        yield on_all(model, weights, changed, ADVICE)

    def _masks(self, weights: Sequence[Prunable], scorer: Scorer) -> Iterator[Mask]:
        """What becomes zero, weight by weight; each must be taken before its weight changes."""
        amount = _HALF if self.amount is None else self.amount
        if self.threshold is not None:
            yield from (scorer.scores(weight) <= self.threshold for weight in weights)
        elif self.scope == "output":
            yield from (_within_outputs(weight, scorer, amount) for weight in weights)
        elif self.scope == "layer":
            for weight in weights:
                yield from _least([weight], scorer, amount)
        else:
            yield from _least(weights, scorer, amount)


def _least(weights: Sequence[Prunable], scorer: Scorer, amount: float) -> Iterator[Mask]:
    """The least of all these weights; of equal ones the first."""
    parts = [scorer.keys(weight) for weight in weights]
    count = round(amount * sum(keys.size for keys in parts))
    bound, ties = least_keys(parts, count) if count else (0, 0)
    for keys in parts:
        mask = keys < bound
        equal = np.flatnonzero(keys == bound)[:ties]
        ties -= equal.size
        mask.reshape(-1)[equal] = True
        yield mask


def _within_outputs(weight: Prunable, scorer: Scorer, amount: float) -> Mask:
    """The least weights of each output channel of the first layer that reads them."""
    keys = np.moveaxis(scorer.keys(weight), weight.readers[0].output_axis, 0)
    rows: Keys = keys.reshape(len(keys), -1)
    order = np.argsort(rows, axis=1, kind="stable")
    mask = np.zeros(rows.shape, np.bool_)
    np.put_along_axis(mask, order[:, : round(amount * rows.shape[1])], values=True, axis=1)
    return np.moveaxis(mask.reshape(keys.shape), 0, weight.readers[0].output_axis)
