"""What the verb ``prune`` runs where no recipe is given: its steps by kind and share."""

from __future__ import annotations

from typing import Literal

from onnxopt.errors import UsageError

PruneKind = Literal["channels", "magnitude", "nm"]
DEFAULT_KEEP: dict[PruneKind, float] = {"channels": 0.7, "magnitude": 0.5, "nm": 0.5}
_GROUPS = (4, 8, 16)
_CLOSE = 1e-9
_STEPS = 40


def default_prune(
    kind: PruneKind = "channels", keep: float | None = None, *, has_data: bool = True
) -> str:
    """The pruning steps of the verb where none are given.

    Args:
        kind: ``channels`` takes out whole channels, ``magnitude`` and ``nm`` make zeros.
        keep: Share of the channels or weights that stays; for ``nm`` it has to be N of 4, 8 or 16.
            By default 0.7 of the channels, half of the weights.
        has_data: Whether there are samples to fit what remains to.

    Raises:
        UsageError: There is no such share.
    """
    share = DEFAULT_KEEP[kind] if keep is None else keep
    if not 0 < share < 1:
        raise UsageError(f"keep {share}", "a share between 0 and 1, such as 0.7")
    match kind:
        case "channels":
            fit = " | reconstruct-layers" if has_data else ""
            return f"prune-channels{{keep={share}}}{fit}"
        case "magnitude":
            return f"prune-magnitude{{amount={round(1 - share, 9)}}}"
        case "nm":
            fits = (m for m in _GROUPS if abs(share * m - round(share * m)) < _CLOSE)
            group = next(fits, None)
            if group is None:
                raise UsageError(f"keep {share} of N:M", "N of 4, 8 or 16, such as 0.5 for 2:4")
            return f"prune-n-of-m{{n={round(share * group)}, m={group}}}"


def shares(kind: PruneKind) -> tuple[float, ...]:
    """The shares a search may keep, the gentlest first: N of 4, else fortieths."""
    steps = _GROUPS[0] if kind == "nm" else _STEPS
    return tuple(left / steps for left in range(steps - 1, 0, -1))
