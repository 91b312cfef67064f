"""Energy the processor has used, where the machine lets a program read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_PACKAGES = "intel-rapl:?"  # AMD's processors appear under this name too
_JOULE = 1e-6


@dataclass
class _Zone:
    """One processor package; its counter starts again at zero beyond ``span``."""

    counter: Path
    span: int
    last: int
    turns: int = 0

    def joules(self) -> float:
        now = int(self.counter.read_text())
        if now < self.last:
            self.turns += 1
        self.last = now
        return (self.turns * self.span + now) * _JOULE


@dataclass
class EnergyMeter:
    """Linux's RAPL counters of all processor packages.

    They count what the whole package takes, idle cores and other programs included, and on most
    systems only the administrator may read them.

    Attributes:
        root: The folder of the counters.
    """

    root: Path = POWERCAP
    _zones: list[_Zone] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._zones = _zones(self.root)

    def joules(self) -> float | None:
        """Energy since an arbitrary moment; None where it cannot be read.

        Two readings must not be further apart than the counters need for a turn (minutes).
        """
        return sum(zone.joules() for zone in self._zones) if self._zones else None


def _zones(root: Path) -> list[_Zone]:
    """The readable packages; none at all where one of them is not readable."""
    found = []
    for folder in sorted(root.glob(_PACKAGES)):
        counter = folder / "energy_uj"
        try:
            span = int((folder / "max_energy_range_uj").read_text()) + 1
            found.append(_Zone(counter, span, int(counter.read_text())))
        except (OSError, ValueError):
            return []
    return found
