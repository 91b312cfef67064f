"""What a training run is asked for, and what it starts from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import onnx_ir as ir

from onnxopt.data import Dataset
from onnxopt.errors import UsageError
from onnxopt.progress import Progress, no_progress

Augment = Literal["none", "noise", "mixup"]
DEFAULT_MINUTES = 5.0


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        steps: Updates of the weights that the schedule is made for; 0 for as many as ``minutes``
            allow at the speed measured first.
        minutes: Most time; 0 for no limit where there are ``steps``, else for 5 minutes.
        stop: Leave the schedule after this many updates; 0 for never.
        rate: Highest learning rate; 0 for one that suits the student's error (0.002 from 0.5 on,
            less in proportion below, 0.0001 at least), a quarter or a sixteenth of it, whichever
            does best in a few updates.
        warmup: Share of the steps in which the rate rises.
        decay: Weight decay, of matrices and kernels alone (AdamW, Loshchilov and Hutter, 2019).
        batch: Samples an update.
        micro: Most samples that run at once; 0 for a batch.
        temperature: Of soft targets (Hinton et al., 2015).
        hints: Inner tensors to be matched too (Romero et al., 2015): found by themselves, none, or
            these.
        hint_weight: Weight of the hints' loss at the beginning; it falls to 0 half way.
        labels: Weight of the labels' cross entropy.
        augment: What varies the inputs: nothing, noise, or mixtures of two samples (Zhang et al.,
            2018, "mixup"; the teacher says what a mixture is).
        keep_zeros: Whether weights that are 0 stay 0.
        train_scales: Whether the scales of quantized tensors are learned too (Esser et al., 2020).
        patience: Evaluations without a better one before training stops; 0 for never.
    """

    steps: int = 0
    minutes: float = 0.0
    stop: int = 0
    rate: float = 0.0
    warmup: float = 0.05
    decay: float = 0.01
    batch: int = 16
    micro: int = 0
    temperature: float = 2.0
    hints: Literal["auto", "none"] | tuple[str, ...] = "auto"
    hint_weight: float = 1.0
    labels: float = 0.0
    augment: Augment = "none"
    keep_zeros: bool = True
    train_scales: bool = False
    patience: int = 10

    def __post_init__(self) -> None:
        for name in ("steps", "minutes", "stop", "rate", "warmup", "decay", "micro", "patience"):
            _check(name, getattr(self, name), getattr(self, name) >= 0, "a number from 0")
        for name in ("labels", "hint_weight"):
            _check(name, getattr(self, name), getattr(self, name) >= 0, "a weight from 0")
        _check("temperature", self.temperature, self.temperature > 0, "a number above 0")
        _check("batch", self.batch, self.batch >= 1, "a number from 1")
        _check("warmup", self.warmup, self.warmup < 1, "a share below 1")

    @property
    def seconds(self) -> float:
        """The time limit; infinite where there is none."""
        if self.minutes:
            return 60 * self.minutes
        return float("inf") if self.steps else 60 * DEFAULT_MINUTES


@dataclass(frozen=True, eq=False)
class Material:
    """What a student learns from.

    Attributes:
        teacher: The model to imitate; run by ONNX Runtime, so any operator will do.
        samples: What it is imitated on.
        held_out: What tells how well; None or fewer than 8 hold out a fifth of the samples.
        cache: Folder for checkpoints; None keeps none.
        seed: Of the order of the samples and of augmentation.
        threads: For training and the teacher; results repeat exactly at equal numbers.
        progress: Told how far training is.
    """

    teacher: ir.Model
    samples: Dataset
    held_out: Dataset | None = None
    cache: Path | None = None
    seed: int = 0
    threads: int = 1
    progress: Progress = field(default=no_progress)


def _check(name: str, value: float, fits: bool, wanted: str) -> None:
    if not fits:
        raise UsageError(f"{name} is {value}", wanted)
