"""Runs the models of the onnx package, and what the tools made of them, with optimisation off."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import corpus  # tests/support, which the place of this job adds

from onnxopt.comparing import compare_outputs
from onnxopt.errors import OnnxoptError
from onnxopt.exactness import Exactness
from onnxopt.runtime import SessionConfig, open_session

_OFF = SessionConfig(optimization="off", spinning=False)
_RANDOM = ("Bernoulli", "Multinomial", "Random")


@functools.cache
def _cases() -> list[corpus.Case]:
    return list(corpus.cases())


def count() -> int:
    """How many models there are."""
    return len(_cases())


def original(number: int, to: str) -> dict[str, Any]:
    """Write a model and run it; says whether it can be compared."""
    case = _cases()[number]
    Path(to).write_bytes(case.model.SerializeToString())
    if any(node.op_type.startswith(_RANDOM) for node in case.model.graph.node):
        return {"name": case.name, "why": "random"}
    try:
        _run(Path(to), case.feeds)
    except OnnxoptError as error:
        return {"name": case.name, "why": f"does not run: {error.found}"}
    return {"name": case.name, "why": ""}


def check(number: int, original: str, candidate: str) -> dict[str, str]:
    """Compare a tool's file with the original on the same inputs."""
    case = _cases()[number]
    before = _run(Path(original), case.feeds)
    try:
        after = _run(Path(candidate), case.feeds)
    except OnnxoptError as error:
        return {"verdict": "does not load", "said": str(error)}
    found = compare_outputs(before, after, Exactness.ROUNDING.tolerance)
    wrong = [f"{o.name} {o.reason}" for o in found if o.verdict == "differ"]
    return {"verdict": "wrong", "said": wrong[0]} if wrong else {"verdict": "ok", "said": ""}


def _run(model: Path, feeds: dict[str, Any]) -> dict[str, Any]:
    with open_session(model, _OFF) as session:
        names = {spec.name for spec in session.inputs}
        return session.run({name: value for name, value in feeds.items() if name in names})
