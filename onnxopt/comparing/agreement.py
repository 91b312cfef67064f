"""How far one output of two models agrees, on one sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from onnxopt.comparing.tensors import TensorDifference, tensor_difference
from onnxopt.exactness import Tolerance

_NOISE = 4.0
"""Times what rounding does to the reference, in the largest error and in the L2 error."""

AgreementVerdict = Literal["agree", "differ", "not-comparable"]


@dataclass(frozen=True)
class OutputAgreement:
    """One output of reference and candidate.

    For sequences, maps and optionals the numbers are the worst over their elements.

    Attributes:
        name: Of the output.
        verdict: Whether it agrees within the tolerance.
        reason: One sentence: why it differs or cannot be compared.
        max_abs: Largest absolute error.
        mean_abs: Mean absolute error.
        relative_l2: ``|a - b| / |a|`` of a float output; the absolute L2 error where the
            reference is all zero; None for integers, booleans and strings.
        cosine: Cosine of the angle between both, of a float output.
        argmax_agreement: Share of rows along the last axis whose largest value stands at the
            same place, of a float output with rows of two or more.
        mismatch: Share of elements outside the tolerance (of unequal ones without a tolerance).
        first_bad_index: Where the first element outside the tolerance stands.
    """

    name: str
    verdict: AgreementVerdict
    reason: str = ""
    max_abs: float = 0.0
    mean_abs: float = 0.0
    relative_l2: float | None = None
    cosine: float | None = None
    argmax_agreement: float | None = None
    mismatch: float = 0.0
    first_bad_index: tuple[int, ...] | None = None


def compare_outputs(
    reference: Mapping[str, Any],
    candidate: Mapping[str, Any],
    tolerance: Tolerance | None,
    not_comparable: Mapping[str, str] | None = None,
) -> tuple[OutputAgreement, ...]:
    """Compare all outputs of one run, by name and order.

    Args:
        reference: Output name to value, in order.
        candidate: The same of the other model.
        tolerance: Of floats; None judges names, types and shapes only.
        not_comparable: Outputs that differ from run to run, with the reason.
    """
    excused = not_comparable or {}
    order = tuple(candidate)
    found = []
    for place, name in enumerate(reference):
        if name not in candidate:
            found.append(_structural(name, "the candidate lacks this output"))
        elif name in excused:
            found.append(OutputAgreement(name, "not-comparable", excused[name]))
        else:
            found.append(compare_value(name, reference[name], candidate[name], tolerance))
            if order.index(name) != place:
                moved = f"is output {order.index(name)} instead of {place}"
                found[-1] = replace(found[-1], verdict="differ", reason=moved)
    extra = [name for name in candidate if name not in reference]
    found += [_structural(name, "the reference lacks this output") for name in extra]
    return tuple(found)


def within_noise(
    found: Sequence[OutputAgreement], noise: Sequence[OutputAgreement]
) -> tuple[OutputAgreement, ...]:
    """Let outputs agree that are hardly farther off than rounding alone may make them.

    Args:
        found: Of a candidate.
        noise: Of the reference computed in another order, such as without optimisations.
    """
    usual = {one.name: one for one in noise}
    return tuple(
        replace(one, verdict="agree", reason="")
        if one.verdict == "differ" and one.name in usual and _is_close(one, usual[one.name])
        else one
        for one in found
    )


def _is_close(found: OutputAgreement, noise: OutputAgreement) -> bool:
    if found.relative_l2 is None or noise.relative_l2 is None:
        return False
    worst = found.max_abs <= _NOISE * noise.max_abs < math.inf
    return worst and found.relative_l2 <= _NOISE * noise.relative_l2


def compare_value(
    name: str, reference: Any, candidate: Any, tolerance: Tolerance | None
) -> OutputAgreement:
    """Compare one value: a tensor, or a sequence, map or optional element by element."""
    parts = list(_parts("", reference, candidate, tolerance))
    bad = next(((path, d) for path, d in parts if d.problem), None)
    differences = [difference for _, difference in parts]
    return OutputAgreement(
        name=name,
        verdict="differ" if bad else "agree",
        reason=f"{bad[0]} {bad[1].problem}".strip() if bad else "",
        max_abs=max((d.max_abs for d in differences), default=0.0),
        mean_abs=max((d.mean_abs for d in differences), default=0.0),
        relative_l2=_worst([d.relative_l2 for d in differences], max),
        cosine=_worst([d.cosine for d in differences], min),
        argmax_agreement=_worst([d.argmax_agreement for d in differences], min),
        mismatch=max((d.mismatch for d in differences), default=0.0),
        first_bad_index=bad[1].first_bad if bad else None,
    )


def _parts(
    path: str, a: Any, b: Any, tolerance: Tolerance | None
) -> Iterator[tuple[str, TensorDifference]]:
    """The tensors in a pair of values, with where they stand."""
    if _kind_of(a) != _kind_of(b):
        problem = f"is {_kind_of(b)} instead of {_kind_of(a)}"
        yield path, TensorDifference.structural(problem)
    elif isinstance(a, Mapping):
        if a.keys() != b.keys():
            yield path, TensorDifference.structural("has other keys than the reference")
            return
        for key in a:
            yield from _parts(f"{path}[{key!r}]", a[key], b[key], tolerance)
    elif isinstance(a, list | tuple):
        if len(a) != len(b):
            problem = f"has {len(b)} elements instead of {len(a)}"
            yield path, TensorDifference.structural(problem)
            return
        for index, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _parts(f"{path}[{index}]", left, right, tolerance)
    elif a is not None:
        yield path, tensor_difference(np.asarray(a), np.asarray(b), tolerance)


def _kind_of(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a map"
    return "a sequence" if isinstance(value, list | tuple) else "a tensor"


def _worst(values: list[float | None], pick: Callable[[list[float]], float]) -> float | None:
    known = [value for value in values if value is not None]
    return pick(known) if known else None


def _structural(name: str, reason: str) -> OutputAgreement:
    return OutputAgreement(name, "differ", reason, mismatch=1.0)
