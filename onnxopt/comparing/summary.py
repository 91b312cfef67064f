"""Agreement of the outputs over many samples, added up as they come."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from onnxopt.comparing.agreement import AgreementVerdict, OutputAgreement


@dataclass(frozen=True)
class OutputSummary:
    """One output over all samples; see ``OutputAgreement`` for the measures.

    Attributes:
        name: Of the output.
        verdict: ``differ`` where any sample differs.
        reason: The first reason met.
        samples: How many were compared.
        worst_abs: Largest absolute error.
        mean_abs: Mean over samples of the mean absolute error.
        worst_relative_l2: Largest of the samples; None for outputs that are no floats.
        mean_relative_l2: Mean over samples.
        worst_cosine: Smallest of the samples.
        mean_cosine: Mean over samples.
        argmax_agreement: Mean over samples.
        mismatch: Mean share of elements outside the tolerance.
        first_bad_item: The first sample that differs.
        first_bad_index: Where in it the first element stands.
    """

    name: str
    verdict: AgreementVerdict
    reason: str
    samples: int
    worst_abs: float
    mean_abs: float
    worst_relative_l2: float | None
    mean_relative_l2: float | None
    worst_cosine: float | None
    mean_cosine: float | None
    argmax_agreement: float | None
    mismatch: float
    first_bad_item: str | None
    first_bad_index: tuple[int, ...] | None


@dataclass
class _Mean:
    """Running mean, smallest and largest of what is known."""

    count: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: float | None) -> None:
        if value is None:
            return
        self.count += 1
        self.total += value
        self.low, self.high = min(self.low, value), max(self.high, value)

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    @property
    def lowest(self) -> float | None:
        return self.low if self.count else None

    @property
    def highest(self) -> float | None:
        return self.high if self.count else None


@dataclass
class _Output:
    """What is known of one output so far."""

    first: OutputAgreement
    item: str
    verdict: AgreementVerdict
    samples: int = 0
    max_abs: _Mean = field(default_factory=_Mean)
    mean_abs: _Mean = field(default_factory=_Mean)
    relative_l2: _Mean = field(default_factory=_Mean)
    cosine: _Mean = field(default_factory=_Mean)
    argmax: _Mean = field(default_factory=_Mean)
    mismatch: _Mean = field(default_factory=_Mean)

    def add(self, agreement: OutputAgreement, item: str) -> None:
        if agreement.verdict == "differ" and self.verdict != "differ":
            self.first, self.item, self.verdict = agreement, item, "differ"
        self.samples += 1
        self.max_abs.add(agreement.max_abs)
        self.mean_abs.add(agreement.mean_abs)
        self.relative_l2.add(agreement.relative_l2)
        self.cosine.add(agreement.cosine)
        self.argmax.add(agreement.argmax_agreement)
        self.mismatch.add(agreement.mismatch)

    def summary(self) -> OutputSummary:
        differs = self.verdict == "differ"
        return OutputSummary(
            name=self.first.name,
            verdict=self.verdict,
            reason=self.first.reason,
            samples=self.samples,
            worst_abs=self.max_abs.highest or 0.0,
            mean_abs=self.mean_abs.mean or 0.0,
            worst_relative_l2=self.relative_l2.highest,
            mean_relative_l2=self.relative_l2.mean,
            worst_cosine=self.cosine.lowest,
            mean_cosine=self.cosine.mean,
            argmax_agreement=self.argmax.mean,
            mismatch=self.mismatch.mean or 0.0,
            first_bad_item=self.item if differs else None,
            first_bad_index=self.first.first_bad_index if differs else None,
        )


class Accumulator:
    """Adds up the agreement of sample after sample in constant memory."""

    def __init__(self) -> None:
        self._outputs: dict[str, _Output] = {}

    def add(self, agreements: Iterable[OutputAgreement], item: str) -> None:
        """Count in one sample."""
        for agreement in agreements:
            known = self._outputs.get(agreement.name)
            if known is None:
                known = _Output(agreement, item, agreement.verdict)
                self._outputs[agreement.name] = known
            known.add(agreement, item)

    def summaries(self) -> tuple[OutputSummary, ...]:
        """What was found, in the order of the outputs."""
        return tuple(output.summary() for output in self._outputs.values())
