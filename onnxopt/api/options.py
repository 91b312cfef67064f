"""Typed options of the verbs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from onnxopt.api.specializing import Specialization
from onnxopt.data import DataOptions, SizeChoices
from onnxopt.errors import UsageError
from onnxopt.progress import Progress, no_progress

DEFAULT_MAX_ERROR = 0.05
"""Fidelity budget where no labels decide: mean over samples of the worst relative L2 error."""


@dataclass(frozen=True)
class RunOptions:
    """How a verb runs.

    Attributes:
        target: Name of a target, path of a target file, or ``auto`` for this machine.
        threads: Threads of the runtime, for verifying, calibrating and timing.
        seed: Of everything random: splits and synthesised inputs.
        cache: Folder for calibration results; None caches nothing.
        dims: Sizes for symbolic dimensions of synthesised inputs; of a list, every entry is tried.
        specialize: Sizes and input values that verbs which write a model build into it.
        keep_default_inputs: Whether callers may still feed inputs that have a default; ONNX Runtime
            neither folds nor fuses those.
        verify: Run original and result before anything is written.
        measure: Also time both and keep the faster.
        timeout_s: Limit on the verification runs, in seconds.
        allow_foreign: Whether recipe steps may import foreign code.
        progress: Told how far a long step is.
        reading: What else is to be said about data given by a spec (labels, preprocessing …).
    """

    target: str | Path = "auto"
    threads: int = 1
    seed: int = 0
    cache: Path | None = None
    dims: SizeChoices = field(default_factory=dict)
    specialize: Specialization = field(default_factory=Specialization)
    keep_default_inputs: bool = False
    verify: bool = True
    measure: bool = False
    timeout_s: float = 600.0
    allow_foreign: bool = False
    progress: Progress = no_progress
    reading: DataOptions = field(default_factory=DataOptions)


@dataclass(frozen=True)
class Budget:
    """How much worse the result may be than the original.

    Attributes:
        metric: Spec of the task metric; needs labels.
        max_drop: Largest loss of the metric, absolute (0.01 is one point of accuracy).
        max_error: Largest mean relative L2 error of the worst output; infinity for any. The
            default applies where neither this nor ``max_drop`` is given.
        accept_undecided: Whether a loss whose mean is inside the budget, but whose interval is
            not, will do.
        int8_anyway: Whether int8 ships even where it misses the budget or is slower than float.
    """

    metric: str | None = None
    max_drop: float | None = None
    max_error: float | None = None
    accept_undecided: bool = False
    int8_anyway: bool = False

    @property
    def is_stated(self) -> bool:
        """Whether there is a limit that somebody asked for."""
        return self.max_drop is not None or self.max_error is not None

    def __post_init__(self) -> None:
        if self.max_drop is not None and self.metric is None:
            raise UsageError("a largest drop needs a metric", todo="name one with --metric")
        for name in ("max_drop", "max_error"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"{name} is {value}", "a number that is not negative")

    @property
    def error_limit(self) -> float | None:
        """The fidelity limit in force; None where only the metric's loss counts."""
        if self.max_error is not None:
            return self.max_error
        return DEFAULT_MAX_ERROR if self.max_drop is None else None
