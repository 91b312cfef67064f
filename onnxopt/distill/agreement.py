"""How well a student imitates its teacher, both in ONNX Runtime."""

from __future__ import annotations

import math

import onnx_ir as ir

from onnxopt.comparing import compare
from onnxopt.data import Dataset
from onnxopt.distill.outcome import Agreement
from onnxopt.runtime import SessionConfig


def agreement(
    teacher: ir.Model, student: ir.Model, samples: Dataset, threads: int = 1
) -> Agreement:
    """Run both on every sample.

    Raises:
        ModelError: One of them does not run.
    """
    found = compare(
        teacher, student, samples, config=SessionConfig(threads=threads, spinning=False)
    )
    rows = (one.argmax_agreement for one in found.outputs)
    same = next((share for share in rows if share is not None), None)
    error = math.inf if found.fidelity is None else found.fidelity.mean
    return Agreement(error, same, found.samples)


def is_better(after: Agreement, before: Agreement) -> bool:
    """Whether a student imitates better: more rows have one arg-max, or the error is smaller and
    about as many have.
    """
    if not math.isfinite(after.error):
        return False
    if after.same is None or before.same is None:
        return after.error < before.error or not math.isfinite(before.error)
    if after.same > before.same:
        return True
    chance = math.sqrt(before.same * (1 - before.same) / max(before.samples, 1))
    return after.error < before.error and after.same >= before.same - chance
