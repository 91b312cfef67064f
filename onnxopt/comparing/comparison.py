"""What a comparison asks and what it finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from onnxopt.comparing.plain import to_plain
from onnxopt.comparing.summary import OutputSummary
from onnxopt.exactness import Tolerance
from onnxopt.metrics import Interval, Metric, Verdict
from onnxopt.runtime import SessionInfo


@dataclass(frozen=True)
class Criteria:
    """What a candidate is measured by.

    Attributes:
        tolerance: For element-wise agreement; None judges names, types and shapes only.
        metric: Of the task; needs labels.
        limit: The budget: with a metric the most it may get worse by, in its own unit; else the
            most that fidelity (a mean relative L2 error) may be. None for no verdict.
        seed: Of the bootstrap.
    """

    tolerance: Tolerance | None = None
    metric: Metric | None = None
    limit: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class MetricChange:
    """A task metric of both models.

    Attributes:
        name: Of the metric.
        higher_is_better: Which way is up.
        before: Of the reference.
        after: Of the candidate.
        change: ``after - before`` with its interval, paired by sample.
    """

    name: str
    higher_is_better: bool
    before: float
    after: float
    change: Interval

    @property
    def loss(self) -> Interval:
        """How much worse the candidate is; negative where it is better."""
        return -self.change if self.higher_is_better else self.change


@dataclass(frozen=True)
class Comparison:
    """How a candidate compares with a reference.

    Attributes:
        samples: How many were run.
        agrees: Whether every comparable output agrees on every sample.
        outputs: Each output over all samples.
        fidelity: Mean over samples of the worst float output's relative L2 error, or that of one
            kind of numbers inside it (the worst share of unequal elements where no output is
            float); None where nothing is comparable. Outputs that become state do not count where
            there are others.
        metric: The task metric before and after; None where none was asked for.
        verdict: On the budget; None where none was stated.
        warnings: What limits these claims.
        criteria: What was asked, in plain values.
        reference_run: What was in force for the reference.
        candidate_run: What was in force for the candidate.
        dataset: Fingerprint of the data.
    """

    samples: int
    agrees: bool
    outputs: tuple[OutputSummary, ...]
    fidelity: Interval | None
    metric: MetricChange | None
    verdict: Verdict | None
    warnings: tuple[str, ...]
    criteria: dict[str, Any]
    reference_run: SessionInfo
    candidate_run: SessionInfo
    dataset: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON document; numbers that JSON lacks become strings."""
        plain: dict[str, Any] = to_plain(asdict(self))
        return plain
