"""Golden cases: a model before, a model after, and what the pass must say, as ONNX text.

A case is one file ``tests/golden/<pass-name>/<case>.txt``: header lines that start with ``#``, the
model before, and, where the pass is meant to change it, a line ``---`` and the model after. Before
them may stand the original that the pass may look at, and a line ``===``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxopt import store
from onnxopt.data import synthesize
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.signature import signature_of
from onnxopt.targets import load_target
from onnxopt.transform import Context, Need, Pass

FOLDER = Path(__file__).parent.parent / "golden"


@dataclass(frozen=True)
class GoldenCase:
    """One parsed case file."""

    path: Path
    step: Pass
    applied: int | None
    refused: tuple[str, ...]
    run: bool
    before: str
    after: str | None
    teacher: str | None = None
    target: str = "x64-vnni"


def cases() -> list[Path]:
    """All case files."""
    return sorted(FOLDER.glob("*/*.txt"))


def read(path: Path) -> GoldenCase:
    """Parse a case file; an unknown header is an error."""
    lines = path.read_text().splitlines()
    headers = [line[1:].strip() for line in lines if line.startswith("#")]
    body = "\n".join(line for line in lines if not line.startswith("#"))
    teacher, parted, rest = body.partition("\n===\n")
    before, separator, after = (rest if parted else body).partition("\n---\n")
    fields: dict[str, list[str]] = {
        "step": [],
        "applied": [],
        "refused": [],
        "run": [],
        "target": [],
    }
    for header in headers:
        key, colon, value = header.partition(":")
        if colon and key in fields:
            fields[key].append(value.strip())
    (step,) = Recipe.parse((fields["step"] or [path.parent.name])[0]).steps
    assert isinstance(step, Pass)
    assert step.name == path.parent.name
    return GoldenCase(
        path=path,
        step=step,
        applied=int(fields["applied"][0]) if fields["applied"] else None,
        refused=tuple(fields["refused"]),
        run=fields["run"] != ["no"],
        before=before,
        after=after if separator else None,
        teacher=teacher if parted else None,
        target=(fields["target"] or [GoldenCase.target])[0],
    )


def context(case: GoldenCase, model: ir.Model) -> Context:
    """What the case's pass needs: the case's target, and four made-up samples."""
    needs, target = case.step.needs, load_target(case.target)
    if not needs & {Need.DATA, Need.TARGET}:
        return Context() if case.target == GoldenCase.target else Context(target=target)
    samples = synthesize(signature_of(model), dims={}, seed=0, samples=4)
    teacher = load(case.teacher, case.path) if case.teacher is not None else model
    return Context(target=target, calibration=samples, teacher=teacher)


def outputs_of(model: ir.Model, reference: ir.Model, seed: int) -> dict[str, np.ndarray]:
    """Run a model, unoptimised, on random inputs for the reference's signature."""
    (sample,) = synthesize(signature_of(reference), dims={}, seed=seed, samples=1)
    config = SessionConfig(optimization="off", threads=1)
    with open_session(model, config) as session:
        return session.run(sample.feeds)


def load(text: str, path: Path) -> ir.Model:
    """Parse one half of a case."""
    return store.from_text(text, origin=str(path))
