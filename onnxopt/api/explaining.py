"""What each pass of a recipe did and would not do, over all its runs, grouped by reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from onnxopt.exactness import Exactness
from onnxopt.transform import Note, StepResult


@dataclass(frozen=True)
class Reason:
    """Nodes of which a pass said the same.

    Attributes:
        text: What was done, or why it was not.
        nodes: Their names, each once.
    """

    text: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Account:
    """One pass over all its runs.

    Attributes:
        step: The pass in its recipe spelling.
        exactness: What it promises.
        runs: How often it ran.
        seconds: Of all runs.
        applied: What it did, in all runs.
        refused: What it would not do as its last run found the model; what another pass has
            made possible since is not in it.
    """

    step: str
    exactness: Exactness
    runs: int
    seconds: float
    applied: tuple[Reason, ...]
    refused: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """The account as plain values."""
        return {
            "pass": self.step,
            "exactness": self.exactness.value,
            "runs": self.runs,
            "seconds": round(self.seconds, 4),
            "applied": [_plain(reason) for reason in self.applied],
            "refused": [_plain(reason) for reason in self.refused],
        }


def explain_steps(results: Sequence[StepResult]) -> tuple[Account, ...]:
    """An account of each pass, in the order in which they first ran."""
    runs: dict[str, list[StepResult]] = {}
    for result in results:
        runs.setdefault(result.step, []).append(result)
    return tuple(_account(step, found) for step, found in runs.items())


def _account(step: str, runs: Sequence[StepResult]) -> Account:
    hits = [note for run in runs for note in run.notes if note.kind == "applied"]
    misses = [note for note in runs[-1].notes if note.kind == "refused"]
    return Account(
        step=step,
        exactness=runs[0].exactness,
        runs=len(runs),
        seconds=sum(run.seconds for run in runs),
        applied=_by_reason(hits),
        refused=_by_reason(misses),
    )


def _by_reason(notes: Iterable[Note]) -> tuple[Reason, ...]:
    """The most frequent reason first."""
    nodes: dict[str, dict[str, None]] = {}
    for note in notes:
        nodes.setdefault(note.reason, {})[note.node] = None
    grouped = [Reason(text, tuple(names)) for text, names in nodes.items()]
    return tuple(sorted(grouped, key=lambda reason: -len(reason.nodes)))


def _plain(reason: Reason) -> dict[str, Any]:
    return {"reason": reason.text, "nodes": list(reason.nodes)}
