"""Trains the weights of a model to compute what the original computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import onnx_ir as ir

from onnxopt.distill.outcome import Outcome
from onnxopt.distill.plan import Material, Plan
from onnxopt.errors import DataError
from onnxopt.exactness import Exactness
from onnxopt.transform import Context, Need, Note, Pass

_ENDS = {
    "finished": "",
    "stopped": "",
    "early": " (it had stopped getting better)",
    "time": " (time was up)",
    "diverged": " (it diverged)",
}


@dataclass(frozen=True)
class Distill(Plan, Pass):
    """Minimise ``T² KL(softmax(t / T) ‖ softmax(s / T)) + |h_s - h_t|² / |h_t|²`` over the weights.

    ``t`` and ``s`` are the scores of the original and of this model on calibration data, ``h``
    inner tensors that both have by name, with kept channels and scales undone. Outputs that are no
    scores are matched by their relative squared error, embeddings by their angle too. No labels
    are needed. The graph stays as it is; zeros of pruned weights stay zero; QDQ nodes are trained
    through (straight-through estimator). The weights change only if the model imitates the
    original better on held-out samples than before.

    Hinton et al. (2015), "Distilling the knowledge in a neural network"; hints: Romero et al.
    (2015), "FitNets"; through quantizers: Esser et al. (2020), "Learned step size quantization".

    Attributes:
        steps: Updates of the weights; 0 for as many as ``minutes`` allow.
        minutes: Most time; by default 5 where no steps are given. What was done in the time is
            spelled out for a replay.
        stop: Leave the schedule after this many updates; 0 for never.
        rate: Highest learning rate; 0 for one that suits the student's error (0.002 from 0.5 on,
            less in proportion below, 0.0001 at least), a quarter or a sixteenth of it, whichever
            does best in a few updates.
        warmup: Share of the updates in which the rate rises.
        decay: Weight decay of matrices and kernels.
        batch: Samples an update.
        micro: Most samples that run at once; 0 for a batch.
        temperature: Of soft targets.
        hints: Inner tensors to be matched: ``auto``, ``none`` or names.
        hint_weight: Weight of their loss at the beginning; it falls to 0 half way.
        labels: Weight of the labels' cross entropy, where there are labels.
        augment: ``none``, ``noise`` or ``mixup``: varies inputs where samples are few.
        keep_zeros: Whether zeros stay zero.
        train_scales: Whether scales of QDQ nodes are learned too.
        patience: Evaluations (there are 20) without a better one before it ends; 0 for never.
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DATA, Need.TEACHER, Need.TORCH})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Train the weights of a model."""
        from onnxopt.distill.training import distill

        if context.calibration is None or context.teacher is None:
            raise DataError("there is nothing to learn from", todo="give data with --data")
        material = Material(
            teacher=context.teacher,
            samples=context.calibration,
            held_out=context.search,
            cache=context.cache,
            seed=context.seed,
            threads=context.threads,
            progress=context.progress,
        )
        outcome = distill(model, material, self)
        for remark in outcome.remarks:
            yield Note.refused(model.graph.name or "model", remark)
        for name in outcome.weights:
            yield Note.applied(name, "trained")
        yield self._verdict(model, outcome)

    def replay(self, outcome: Outcome) -> Distill:
        """The step that does the same again, however long it takes."""
        stop = outcome.steps if outcome.end == "time" else self.stop
        micro = outcome.micro if outcome.micro < min(self.micro or self.batch, self.batch) else 0
        return replace(
            self,
            steps=outcome.planned,
            minutes=0.0,
            stop=stop,
            rate=outcome.rate,
            micro=micro or self.micro,
        )

    def _verdict(self, model: ir.Model, outcome: Outcome) -> Note:
        share = f"{outcome.steps} of {outcome.planned} updates{_ENDS[outcome.end]}"
        change = (
            f"{outcome.before}; now {outcome.after} on {outcome.after.samples} held-out samples"
        )
        figures: dict[str, float | str] = {
            "error_before": outcome.before.error,
            "error_after": outcome.after.error,
            "seconds": outcome.seconds,
            "steps": outcome.steps,
            "replay": str(self.replay(outcome)),
        }
        node = model.graph.name or "model"
        if not outcome.kept:
            reason = f"left as it was, no better after {share}: {change}"
            return Note("refused", node, reason, figures)
        return Note("applied", node, f"{share}, the best after {outcome.best}: {change}", figures)
