"""What to time and how long."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from onnxopt.errors import UsageError
from onnxopt.runtime import SessionConfig, is_gpu

Model = Path | str | bytes | ir.Model

_GPU_ROUNDS = 7
"""A new process or session takes seconds there, and where it lies in memory matters little."""


@dataclass(frozen=True)
class Candidate:
    """One thing to time: a model, run in one way.

    Attributes:
        model: A file, a serialized model or one in memory.
        name: How results call it; the file's name where empty.
        session: How to run it; the benchmark's own config where None.
    """

    model: Model
    name: str = ""
    session: SessionConfig | None = None


@dataclass(frozen=True)
class BenchmarkConfig:
    """How to measure.

    In every round each candidate gets one turn: it is loaded anew, run a few times, then timed.

    Attributes:
        session: How to run candidates that do not say it themselves.
        rounds: Turns of each candidate, the pairs behind a ratio; with ``within``, the least.
        within: Half the width that a ratio's interval (with one candidate: its time's) may have,
            as a fraction: 0.03 asks for further rounds until it is at most ±3 %. None for none.
        most_rounds: Where ``within`` gives up.
        turn_runs: Least number of timed runs a turn.
        turn_seconds: Least time of a turn; it is filled with further runs.
        warmup_runs: Least number of runs before the first turn.
        warmup_seconds: Longest time to wait until the run time is steady.
        reload: Whether each turn loads the model anew. How fast a loaded model runs depends by 1
            to 5 % on where in memory it happens to lie, so without this an interval speaks of
            the two processes at hand, not of the models.
        renew: Turns after which a candidate goes on in a new process, 0 for never: within one
            process a model loaded anew tends to lie where it lay before, so that intervals from
            one process each miss the truth in 30 to 40 % of cases instead of 5.
        batch: Items that one run works on, for inferences a second and joules; the samples
            must hold as many.
        seed: Of the order of turns.
        timeout_seconds: Longest a load, warm-up or turn may take.
    """

    session: SessionConfig = field(default_factory=SessionConfig)
    rounds: int = 12
    within: float | None = None
    most_rounds: int = 200
    turn_runs: int = 3
    turn_seconds: float = 0.15
    warmup_runs: int = 5
    warmup_seconds: float = 3.0
    reload: bool = True
    renew: int = 2
    batch: int = 1
    seed: int = 0
    timeout_seconds: float = 300.0

    @classmethod
    def usual(cls, session: SessionConfig, seed: int = 0) -> BenchmarkConfig:
        """What decides between models on a provider: on a GPU each of them is loaded once."""
        if is_gpu(session.provider):
            return cls(session, _GPU_ROUNDS, reload=False, renew=0, seed=seed)
        return cls(session, seed=seed)

    def __post_init__(self) -> None:
        for name in ("rounds", "most_rounds", "turn_runs", "warmup_runs", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}", "a number from 1")
        if self.renew < 0:
            raise UsageError(f"renew={self.renew}", "a number from 0")
        if self.timeout_seconds <= 0:
            raise UsageError(f"timeout_seconds={self.timeout_seconds}", "a time above 0")
        if self.within is not None and not 0 < self.within < 1:
            raise UsageError(f"within={self.within}", "a fraction such as 0.03")
