"""Whether a measured loss is inside a budget, and whether the data can tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from onnxopt.metrics.bootstrap import Interval

MIN_SAMPLES = 8
"""With fewer samples nothing is claimed about accuracy."""

_SIGNIFICANT = 2
_NOTHING = 1e-6
_MOST = 1e4


@dataclass(frozen=True)
class Verdict:
    """A loss against its budget.

    Attributes:
        status: ``inside`` or ``outside`` where the whole interval is, else ``undecided``.
        loss: Mean loss with its interval; higher is worse.
        limit: The budget.
        more_samples: About how many more samples would decide; 0 where it is decided, None where
            no number would that anyone has (the loss is right at the budget, or infinite).
    """

    status: Literal["inside", "outside", "undecided"]
    loss: Interval
    limit: float
    more_samples: int | None

    @property
    def is_likely_inside(self) -> bool:
        """Whether the mean alone is inside: the best guess where the data cannot tell."""
        return self.loss.mean <= self.limit

    def __str__(self) -> str:
        text = (
            f"{self.status}: loss {self.loss.mean:.4g} "
            f"[{self.loss.low:.4g}, {self.loss.high:.4g}], budget {self.limit:.4g}"
        )
        return (
            f"{text}, about {self.more_samples} more samples needed" if self.more_samples else text
        )


def judge(loss: Interval, limit: float) -> Verdict:
    """Compare a loss (higher is worse) with the most that is allowed.

    Args:
        loss: Mean and interval.
        limit: The budget, in the same unit.
    """
    decided = loss.samples >= MIN_SAMPLES
    if decided and loss.high <= limit:
        return Verdict("inside", loss, limit, 0)
    if decided and loss.low > limit:
        return Verdict("outside", loss, limit, 0)
    return Verdict("undecided", loss, limit, _more_samples(loss, limit))


def _more_samples(loss: Interval, limit: float) -> int | None:
    """What was seen shrinks with the square root of the samples, what was not with the samples."""
    gap = abs(limit - loss.mean)
    half = loss.high - loss.mean if loss.mean <= limit else loss.mean - loss.low
    if not half <= gap * _MOST:
        return None
    share = _share_of_now(half, min(loss.unseen, half), gap) if half > 0 and gap > 0 else 1.0
    needed = max(loss.samples / share, MIN_SAMPLES, loss.samples + 1)
    more = math.ceil(needed) - loss.samples
    digits = max(len(str(more)) - _SIGNIFICANT, 0)
    unit: int = 10**digits
    return math.ceil(more / unit) * unit


def _share_of_now(half: float, unseen: float, gap: float) -> float:
    """Samples now over samples needed: r of ``gap^2 = (half^2 - unseen^2) r + unseen^2 r^2``."""
    still = (unseen / half) ** 2
    wanted = (gap / half) ** 2
    if still < _NOTHING:
        return wanted
    return (math.sqrt((1 - still) ** 2 + 4 * still * wanted) - (1 - still)) / (2 * still)
