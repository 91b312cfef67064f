"""What parent and child of an equivalence check agree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxopt.runtime import OptLevel

REQUEST, RESULT, PHASE = "request.json", "result.json", "phase.txt"
EITHER = "either"
"""Which model a phase speaks of where both are at work."""
FIXED = -1
"""Number of the pseudo-sample that holds the fixed inputs."""


@dataclass(frozen=True)
class Request:
    """What the child is asked.

    Attributes:
        reference: Path of the reference.
        candidate: Path of the candidate; empty asks which samples the reference takes.
        samples: How many samples lie in the folder.
        enough: Stop after so many that the reference accepts.
        variety: How many sizes of an axis are enough.
        selective: Whether to pass over samples whose sizes add nothing to those accepted before.
        may_reject: Whether the reference may reject samples, as it may those made up.
        tolerance: ``(atol, rtol, by_magnitude)``; None judges structure only.
        candidate_provider: The provider that runs the candidate; the CPU runs the reference.
        optimization: ONNX Runtime's level.
        not_comparable: Outputs that differ from run to run, with the reason.
        together: Whether the candidate is loaded while the reference loads and runs.
        timeout_s: After which the child ends itself, should its parent not.
        crashed: Samples that ended a process before, with how; they are not tried again.
    """

    reference: str
    candidate: str
    samples: int
    enough: int
    variety: int
    selective: bool
    may_reject: bool
    tolerance: tuple[float, float, bool] | None
    candidate_provider: str
    optimization: OptLevel
    not_comparable: Mapping[str, str]
    together: bool
    timeout_s: float
    crashed: Mapping[int, str] = field(default_factory=dict)
