"""What a training run did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

End = Literal["finished", "early", "time", "diverged", "stopped"]


@dataclass(frozen=True)
class Agreement:
    """How well a model imitates its teacher on held-out samples, both run by ONNX Runtime.

    Attributes:
        error: Mean relative L2 error of the worst float output.
        same: Share of rows with the largest value at the same place, of the first output that has
            rows; None where none has.
        samples: How many.
    """

    error: float
    same: float | None
    samples: int

    def __str__(self) -> str:
        same = "" if self.same is None else f", same arg-max {self.same:.2%}"
        return f"error {self.error:.4g}{same}"


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        kept: Whether the student has new weights; it has not where they imitate no better.
        before: Agreement at the beginning.
        after: With the best weights found.
        steps: Updates done.
        planned: Updates the schedule was made for.
        best: After how many updates the best weights were found.
        end: Why it ended.
        seconds: Wall time, time before an interruption included.
        rate: Highest learning rate.
        micro: Most samples that ran at once in the end.
        weights: Names of the tensors that changed.
        hints: Inner tensors that were matched.
        history: Updates and the held-out loss after them.
        remarks: What a person should know.
    """

    kept: bool
    before: Agreement
    after: Agreement
    steps: int
    planned: int
    best: int
    end: End
    seconds: float
    rate: float
    micro: int
    weights: tuple[str, ...]
    hints: tuple[str, ...]
    history: tuple[tuple[int, float], ...]
    remarks: tuple[str, ...]
