"""How the learning rate and the hints' weight go along a run, and how long a run may be."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnxopt.distill.plan import Plan

EVALUATIONS = 20
LEAST_STEPS = 20
"""Updates of the shortest run."""

_HINTS_UNTIL = 0.5
_LARGE_RATE = 2e-3
_LARGE_ERROR = 0.5  # relative L2
_LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Schedule:
    """A run of so many updates.

    Attributes:
        total: Updates.
        rate: Highest learning rate.
        warmup: Share of the updates in which it rises.
        hint_weight: Of the hints at the beginning.
    """

    total: int
    rate: float
    warmup: float
    hint_weight: float

    def rate_at(self, step: int) -> float:
        """Up in a line, then down as a cosine (Loshchilov and Hutter, 2017)."""
        rise = max(1, round(self.warmup * self.total))
        if step < rise:
            return self.rate * (step + 1) / rise
        done = (step - rise) / max(1, self.total - rise)
        return self.rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def hint_weight_at(self, step: int) -> float:
        """Down in a line until half way."""
        return self.hint_weight * max(0.0, 1 - step / max(1.0, _HINTS_UNTIL * self.total))

    @property
    def evaluate_every(self) -> int:
        """Updates between evaluations."""
        return max(1, self.total // EVALUATIONS)


def suitable_rate(error: float) -> float:
    """A learning rate for a student with this error; two digits."""
    share = min(1.0, max(_LEAST_SHARE, error / _LARGE_ERROR)) if error >= 0 else 1.0
    return float(f"{_LARGE_RATE * share:.1e}")


def make_schedule(plan: Plan, total: int) -> Schedule:
    """The schedule of a plan."""
    return Schedule(total, plan.rate, plan.warmup, plan.hint_weight)


@dataclass(frozen=True)
class Speed:
    """What was measured before the start, in seconds.

    Attributes:
        update: One.
        evaluation: One.
        lesson: Making one.
    """

    update: float
    evaluation: float
    lesson: float


def affordable_steps(speed: Speed, seconds: float, lessons: int, batch: int) -> int:
    """How many updates fit into the time, evaluations and the first reading of the data included.

    Args:
        speed: As measured.
        seconds: The time.
        lessons: How many there are; each is made once.
        batch: Lessons an update.
    """
    left = seconds - (EVALUATIONS + 1) * speed.evaluation
    both = speed.update + speed.lesson * batch
    first = lessons / batch  # updates of the first epoch, which also make their lessons
    if left <= first * both:
        return max(LEAST_STEPS, int(left / both))
    return max(LEAST_STEPS, int(first + (left - first * both) / speed.update))
