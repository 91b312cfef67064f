"""Looks for the fastest placement of integers that stays inside a goal.

    minimise   time(P) + λ Σ e²(sources in codes under P)     over placements P, by a minimum cut

for ever larger λ: the predicted noise never grows with λ, the predicted time never shrinks. Each
placement on the way is built and tried on real samples; λ is bisected, on a logarithmic scale,
between the last placement outside the goal and the first inside. What lies between these two is
then looked through by hand, as it were: see ``_Descent``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from onnxopt.targets import Int8Scheme
from onnxopt_passes._trial import Outcome
from onnxopt_passes.quantize._gains import Sizes
from onnxopt_passes.quantize._noise import Noise
from onnxopt_passes.quantize._placement import place, saved_ns
from onnxopt_passes.quantize._units import Unit

MOST_TRIALS = 10
MOST_STEPS = 5
_LOOKED_AT = 6
_LOWER = 0.93  # of the predicted error, for another trial to be worth its while
_MOST_BARRED = 40
_BARRED = 1e12
_FINEST = 1.05  # ratio of two λ that are as good as equal
_AS_FAST = 0.98  # of the gain outside the goal: less than timings can tell
_WIDEST = 1e9  # ratio of the largest λ to the least

Placement = frozenset[Unit]


@dataclass(frozen=True)
class Tried:
    """A placement with what is known of it.

    Attributes:
        chosen: The units in integers.
        saved_ns: What it saves by the target's figures.
        outcome: How it did on real samples; None where nothing is in codes.
        fits: Whether that is inside the goal.
    """

    chosen: Placement
    saved_ns: float
    outcome: Outcome | None
    fits: bool


@dataclass(frozen=True, eq=False)
class Field:
    """What there is to place.

    Attributes:
        units: All candidates.
        sizes: Of the tensors around them.
        scheme: What conversions cost.
    """

    units: Sequence[Unit]
    sizes: Sizes
    scheme: Int8Scheme

    def fastest(
        self,
        noise: Noise | None = None,
        price: float = 0.0,
        barred: Collection[Unit] = (),
    ) -> Placement:
        """The fastest placement.

        Args:
            noise: The power of each source of noise.
            price: What the power counts for, in nanoseconds.
            barred: Units that must stay in float.
        """
        penalties = None if noise is None else noise.times(price).with_weights(barred, _BARRED)
        return place(self.units, self.sizes, self.scheme, penalties)

    def saved_ns(self, chosen: Placement) -> float:
        """What a placement saves."""
        return saved_ns(self.units, chosen, self.sizes, self.scheme)

    def differ(self, faster: Placement, slower: Placement) -> bool:
        """Whether one placement saves so much more that it is worth looking between the two."""
        return self.saved_ns(slower) < _AS_FAST * self.saved_ns(faster)


Attempt = Callable[[Placement], Tried]


def search(
    field: Field, noise: Noise, attempt: Attempt, most_error: float | None = None
) -> list[Tried]:
    """Try placements between the fastest and none at all, closing in on the edge of the goal.

    Args:
        field: What there is to place.
        noise: The power of each source of noise.
        attempt: Builds a placement and runs it.
        most_error: The error to aim at; None where the goal is another.

    Returns:
        What was tried, in order; the fastest that fits is the result.
    """
    tried: dict[Placement, Tried] = {}
    low, high = _prices(field, noise)
    outside, inside = field.fastest(), frozenset[Unit]()
    while high / low > _FINEST and len(tried) < MOST_TRIALS and field.differ(outside, inside):
        middle = math.sqrt(low * high)
        chosen = field.fastest(noise, middle)
        if chosen == outside:
            low = middle
        elif chosen == inside or not chosen:
            high = middle
        else:
            found = tried.get(chosen) or attempt(chosen)
            tried[chosen] = found
            if found.fits:
                high, inside = middle, chosen
            else:
                low, outside = middle, chosen
    descent = _Descent(field, noise, low, attempt, most_error)
    return [*tried.values(), *descent.between(outside, inside, tried.get(outside))]


class _Descent:
    """From a placement outside the goal down to one inside, between those that any price gives.

    Where many nodes leave integers together, because what remained would not pay for its
    conversions, no price of noise gives what lies between. So units are barred from integers one
    after the other, each time the one that takes most noise with it for the time it costs.
    """

    def __init__(
        self,
        field: Field,
        noise: Noise,
        price: float,
        attempt: Attempt,
        most_error: float | None,
    ) -> None:
        self._field, self._noise, self._price = field, noise, price
        self._attempt, self._most_error = attempt, most_error

    def between(self, outside: Placement, inside: Placement, known: Tried | None) -> list[Tried]:
        """What was tried on the way; the last may fit.

        Args:
            outside: Where to start.
            inside: What is known to fit: nothing slower is tried.
            known: What is known of the start.
        """
        found: list[Tried] = []
        barred: set[Unit] = set()
        current, trust = outside, self._trust(known)
        least = self._field.saved_ns(inside)
        wanted = self._aim(self._error(current), trust)
        while len(found) < MOST_STEPS and len(barred) < _MOST_BARRED:
            step = self._step(current, inside, barred)
            if step is None or _AS_FAST * self._field.saved_ns(step[1]) <= least:
                break
            barred.add(step[0])
            current = step[1]
            if self._error(current) > wanted:
                continue
            found.append(self._attempt(current))
            if found[-1].fits:
                break
            wanted = self._aim(self._error(current), self._trust(found[-1]))
        return found

    def _step(
        self, current: Placement, inside: Placement, barred: set[Unit]
    ) -> tuple[Unit, Placement] | None:
        """The unit to bar next, and what is fastest then."""
        loudest = sorted(
            (unit for unit in self._field.units if unit in current and unit not in inside),
            key=self._noise.around,
            reverse=True,
        )
        options = [
            (unit, self._field.fastest(self._noise, self._price, {*barred, unit}))
            for unit in loudest[:_LOOKED_AT]
        ]
        return max(options, key=lambda option: self._worth(current, option[1]), default=None)

    def _worth(self, before: Placement, after: Placement) -> float:
        """Noise that goes for each nanosecond that is lost."""
        field = self._field
        lost = field.saved_ns(before) - field.saved_ns(after)
        return (self._error(before) ** 2 - self._error(after) ** 2) / max(lost, 1.0)

    def _error(self, chosen: Placement) -> float:
        return math.sqrt(self._noise.total(self._field.units, chosen))

    def _trust(self, tried: Tried | None) -> float:
        """Real error over predicted error."""
        if tried is None or tried.outcome is None:
            return 1.0
        return tried.outcome.error.mean / max(self._error(tried.chosen), 1e-9)

    def _aim(self, error: float, trust: float) -> float:
        """The predicted error at which to try again."""
        if self._most_error is None:
            return _LOWER * error
        return min(self._most_error / max(trust, 1e-9), _LOWER * error)


def _prices(field: Field, noise: Noise) -> tuple[float, float]:
    """A price too low to change anything worth mentioning, and one that nothing is worth."""
    powers = [power for power in (*noise.tensors.values(), *noise.weights.values()) if power > 0]
    saved = max(field.saved_ns(field.fastest()), 1.0)
    least = saved / max(sum(powers), 1e-12) / 1e3
    return least, least * _WIDEST
