"""How close a rewritten model must stay to the original, and what that means in numbers."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Element-wise agreement: ``|a - b| <= atol + rtol * |a|`` with ``a`` the reference.

    Attributes:
        atol: Absolute part.
        rtol: Relative part.
        by_magnitude: Whether ``atol`` is multiplied by the usual magnitude of the numbers around,
            where that is above 1: where sums of large numbers come to small ones, these carry the
            rounding of the large.
    """

    atol: float
    rtol: float
    by_magnitude: bool = False


class Exactness(enum.Enum):
    """What a pass promises about the tensors it leaves under their old name.

    ``BITWISE``: equal bits (judged with runtime optimisations off and one thread).
    ``ROUNDING``: equal up to floating-point rounding.
    ``LOSSY``: as good as a budget says.
    """

    BITWISE = "bitwise"
    ROUNDING = "rounding"
    LOSSY = "lossy"

    @property
    def tolerance(self) -> Tolerance | None:
        """The tolerance that verification applies; None where a budget decides."""
        return _TOLERANCES[self]

    @property
    def is_exact(self) -> bool:
        """True for ``BITWISE`` and ``ROUNDING``."""
        return self is not Exactness.LOSSY

    def __or__(self, other: Exactness) -> Exactness:
        """The looser of the two: the exactness of running one after the other."""
        order = list(Exactness)
        return max(self, other, key=order.index)


_TOLERANCES: dict[Exactness, Tolerance | None] = {
    Exactness.BITWISE: Tolerance(0.0, 0.0),
    Exactness.ROUNDING: Tolerance(1e-4, 1e-3, by_magnitude=True),
    Exactness.LOSSY: None,
}
