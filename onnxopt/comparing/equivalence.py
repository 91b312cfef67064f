"""Whether a rewritten model still computes the same, tried out in a child with limits."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxopt.comparing.asking import (
    GRACE_S,
    CandidateCrashError,
    CheckLimits,
    EitherError,
    ask,
    child_of,
    write_samples,
)
from onnxopt.comparing.exchange import read_sample
from onnxopt.comparing.filed import Filed, model_of, path_of
from onnxopt.comparing.plain import to_plain
from onnxopt.comparing.process import Child, started
from onnxopt.comparing.randomness import random_outputs
from onnxopt.comparing.request import Request
from onnxopt.comparing.summary import OutputSummary
from onnxopt.data import (
    MAX_PLANS,
    Dataset,
    Feeds,
    Sample,
    candidate_inputs,
    feedable_signature,
    variety_of,
)
from onnxopt.errors import DataError, ModelError
from onnxopt.exactness import Exactness, Tolerance
from onnxopt.fixed import fixed_inputs
from onnxopt.signature import Signature, TensorSpec, signature_of

_LIMITS = CheckLimits()
_TOGETHER_BYTES = 50_000_000
"""Files up to this size together are loaded at the same time; larger ones would need the memory."""


@dataclass(frozen=True)
class Equivalence:
    """What a check found.

    Attributes:
        agrees: Whether every comparable output of every sample agrees.
        outputs: Each output over all samples.
        samples: How many were compared.
        rejected: Items of made-up samples that the reference itself does not take.
        failure: Why the candidate could not be compared at all; empty where it could.
        tolerance: What was allowed; None where only structure was judged.
        culprit: The first sample that differs, for a closer look.
    """

    agrees: bool
    outputs: tuple[OutputSummary, ...]
    samples: int
    rejected: tuple[str, ...] = ()
    failure: str = ""
    tolerance: Tolerance | None = None
    culprit: Sample | None = field(default=None, compare=False, repr=False)

    @property
    def is_comparable(self) -> bool:
        """False where every output depends on random numbers: agreement then says nothing."""
        return any(output.verdict != "not-comparable" for output in self.outputs)

    def __str__(self) -> str:
        if self.failure:
            return self.failure
        bad = [output for output in self.outputs if output.verdict == "differ"]
        if bad:
            return f"output {bad[0].name} of sample {bad[0].first_bad_item} {bad[0].reason}"
        noted = [o.name for o in self.outputs if o.verdict == "not-comparable"]
        rest = f"; not comparable: {', '.join(noted)}" if noted else ""
        return f"{len(self.outputs) - len(noted)} outputs agree on {self.samples} samples{rest}"

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON document."""
        return {
            "agrees": self.agrees,
            "outputs": [to_plain(asdict(output)) for output in self.outputs],
            "samples": self.samples,
            "rejected": list(self.rejected),
            "failure": self.failure,
            "tolerance": None if self.tolerance is None else asdict(self.tolerance),
        }


def check_equivalence(
    reference: ir.Model | Path | Filed,
    candidate: ir.Model | Path,
    data: Dataset | Iterable[Feeds] | None,
    exactness: Exactness,
    *,
    limits: CheckLimits = _LIMITS,
    candidate_provider: str = "cpu",
) -> Equivalence:
    """Run both models in a child process and compare their outputs.

    BITWISE is judged with ONNX Runtime's optimisations off; everything runs on one thread of the
    CPU, the candidate elsewhere if asked. For LOSSY only names, types and shapes are judged. Inputs
    that the candidate has built in are fed to the reference.

    Args:
        reference: The model as it was.
        candidate: The model as it is now.
        data: Samples or feeds; None makes some up. Of made-up samples those count that the
            reference takes and whose sizes are new.
        exactness: What the candidate promises.
        limits: Time, memory and samples.
        candidate_provider: What runs the candidate: another one than the CPU's where its kernels
            are only there.

    Returns:
        The verdict; a candidate that does not load, fails or crashes does not agree.

    Raises:
        ModelError: The reference does not load or crashes.
        DataError: The reference rejects the samples.
        LimitError: Time or memory ran out; the message names the model that was running.
    """
    if isinstance(reference, Filed):
        with contextlib.suppress(ModelError):
            return _check(reference, candidate, data, exactness, limits, candidate_provider)
        reference = reference.model  # as it was read, perhaps it loads
    return _check(reference, candidate, data, exactness, limits, candidate_provider)


def _check(
    reference: ir.Model | Path | Filed,
    candidate: ir.Model | Path,
    data: Dataset | Iterable[Feeds] | None,
    exactness: Exactness,
    limits: CheckLimits,
    candidate_provider: str,
) -> Equivalence:
    tolerance = exactness.tolerance
    with tempfile.TemporaryDirectory(prefix="onnxopt-") as name, started(child_of(name)) as child:
        folder = Path(name)
        models = [model_of(reference), model_of(candidate)]
        samples, made_up, variety = _samples(data, models, limits.samples)
        count = write_samples(samples, fixed_inputs(models[1]), folder)
        if count == 0:
            raise DataError("there are no samples to compare with", "at least one")
        request = Request(
            reference=path_of(reference, folder, "reference"),
            candidate=path_of(candidate, folder, "candidate"),
            samples=count,
            enough=limits.samples,
            variety=variety,
            selective=made_up,
            may_reject=made_up,
            tolerance=None if tolerance is None else astuple(tolerance),
            candidate_provider=candidate_provider,
            optimization="off" if exactness is Exactness.BITWISE else "all",
            not_comparable=random_outputs(models[1]) | random_outputs(models[0]),
            together=False,
            timeout_s=limits.timeout_s + GRACE_S,
        )
        sizes = (Path(path).stat().st_size for path in (request.reference, request.candidate))
        if sum(sizes) <= _TOGETHER_BYTES:
            try:
                return _asked(replace(request, together=True), folder, tolerance, limits, child)
            except EitherError:  # one after the other: which is it
                return _asked(request, folder, tolerance, limits)
        return _asked(request, folder, tolerance, limits, child)


def _asked(
    request: Request,
    folder: Path,
    tolerance: Tolerance | None,
    limits: CheckLimits,
    child: Child | None = None,
) -> Equivalence:
    try:
        result = ask(request, folder, limits, child)
    except CandidateCrashError as crash:
        return Equivalence(False, (), 0, failure=str(crash), tolerance=tolerance)
    outputs = tuple(_summary(output) for output in result["outputs"])
    culprit = result["culprit"]
    return Equivalence(
        agrees=culprit is None and not result["failure"],
        outputs=outputs,
        samples=max((output.samples for output in outputs), default=0),
        rejected=tuple(result["rejected"]),
        failure=result["failure"],
        tolerance=tolerance,
        culprit=None if culprit is None else read_sample(folder, culprit),
    )


def _samples(
    data: Dataset | Iterable[Feeds] | None, models: Sequence[ir.Model], most: int
) -> tuple[Iterable[Sample], bool, int]:
    """The samples to try, whether the reference may reject some, and how many sizes are enough."""
    if data is None:
        return candidate_inputs(_narrower(*models)), True, 2
    made_up = bool(getattr(data, "is_random", False))
    variety = variety_of(data)
    values: Iterable[Sample | Feeds] = data
    chosen = itertools.islice(values, max(most, MAX_PLANS) if made_up else most)
    found = (_as_sample(value, number) for number, value in enumerate(chosen))
    return found, made_up, variety


def _narrower(reference: ir.Model, candidate: ir.Model) -> Signature:
    """The candidate's signature, which may have fewer sizes; the reference's where the inputs are
    others altogether, which the check will find. Sizes that weights decide are numbers in both.
    """
    ours = feedable_signature(reference)
    theirs = _filled(signature_of(candidate), ours)
    fixed = fixed_inputs(candidate)
    names = [spec.name for spec in ours.inputs if spec.name not in fixed]
    return theirs if names == [spec.name for spec in theirs.inputs] else ours


def _filled(signature: Signature, known: Signature) -> Signature:
    """A signature with numbers for open sizes and with spans where the other one has them."""

    def filled(spec: TensorSpec) -> TensorSpec:
        other = known.input(spec.name)
        if spec.shape is None or other is None or len(other.shape or ()) != len(spec.shape):
            return spec
        pairs = zip(spec.shape, other.shape or (), strict=True)
        shape = (b if isinstance(b, int) and not isinstance(a, int) else a for a, b in pairs)
        return replace(spec, shape=tuple(shape))

    inputs = tuple(filled(spec) for spec in signature.inputs)
    return replace(signature, inputs=inputs, spans=known.spans)


def _as_sample(value: Sample | Feeds, number: int) -> Sample:
    return value if isinstance(value, Sample) else Sample(value, None, str(number))


def _summary(values: dict[str, Any]) -> OutputSummary:
    index = values.pop("first_bad_index")
    return OutputSummary(**values, first_bad_index=None if index is None else tuple(index))
