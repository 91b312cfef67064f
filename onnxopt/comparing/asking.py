"""Asks a child process about models that may take it down, and hears how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from onnxopt import errors
from onnxopt.comparing.exchange import write_sample
from onnxopt.comparing.process import Child, Ending, run_limited
from onnxopt.comparing.request import EITHER, FIXED, PHASE, REQUEST, RESULT, Request
from onnxopt.data import Feeds, Sample
from onnxopt.errors import LimitError, ModelError, OnnxoptError

GRACE_S = 10.0
"""A child ends itself so much later than its parent should end it."""


@dataclass(frozen=True)
class CheckLimits:
    """How much a check may take.

    Attributes:
        samples: It looks at this many samples at most.
        timeout_s: Wall time for both models together.
        memory_bytes: Resident memory of the child; None for 90 % of what is free.
    """

    samples: int = 8
    timeout_s: float = 600.0
    memory_bytes: int | None = None


class EitherError(Exception):
    """A child ended while two models were at work in it."""


class CandidateCrashError(Exception):
    """The candidate ended the child; the text says how."""


class _ReferenceCrashError(Exception):
    """The reference ended the child on a sample that it may reject."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number, self.reason = number, reason


def child_of(folder: Path | str) -> list[str]:
    """What to run; it answers when the folder holds a request."""
    return ["onnxopt.comparing.child", str(folder)]


def write_samples(samples: Iterable[Sample], fixed: Feeds, folder: Path) -> int:
    """Write samples, and what is fed with each of them, for the child; how many there are."""
    count = 0
    for count, sample in enumerate(samples, 1):
        write_sample(sample, folder, count - 1)
    write_sample(Sample(fixed, None, "fixed"), folder, FIXED)
    return count


def ask(
    request: Request, folder: Path, limits: CheckLimits, child: Child | None = None
) -> dict[str, Any]:
    """The child's answer.

    A made-up sample on which the reference takes the process down, as a division by zero in
    integers does, is one that it rejects: another process goes on without it.

    Args:
        request: What is asked.
        folder: With the samples.
        limits: Time and memory.
        child: One that waits for the request already; None starts it now.

    Raises:
        EitherError: The child ended while both models were at work.
        CandidateCrashError: The candidate ended it.
        ModelError: The reference ended it.
        LimitError: Time or memory ran out; the message names the model that was running.
        OnnxoptError: What the child itself raised.
    """
    crashed: dict[int, str] = {}
    while True:
        try:
            return _asked(replace(request, crashed=crashed), folder, limits, child)
        except _ReferenceCrashError as crash:
            crashed[crash.number] = crash.reason
            child = None
        finally:
            (folder / REQUEST).unlink(missing_ok=True)


def _asked(
    request: Request, folder: Path, limits: CheckLimits, child: Child | None
) -> dict[str, Any]:
    (folder / PHASE).unlink(missing_ok=True)  # of another child
    written = folder / f"{REQUEST}.part"
    written.write_text(json.dumps(asdict(request)), encoding="utf-8")
    written.rename(folder / REQUEST)
    ending = run_limited(child_of(folder), limits.timeout_s, limits.memory_bytes, child)
    model, doing, number = _phase(folder)
    answer = folder / RESULT
    if model == EITHER and (ending.limit or not answer.is_file()):
        raise EitherError
    if ending.limit:
        raise LimitError(f"the {model} model took {ending.limit} ({doing})", todo=ending.todo)
    if not answer.is_file():
        raise _crash(ending, model, doing, number if request.may_reject else None)
    result: dict[str, Any] = json.loads(_without_paths(answer.read_text(encoding="utf-8"), folder))
    if "error" in result:
        kind = getattr(errors, result["error"])
        raise kind(result["found"], result["wanted"], result["todo"])
    return result


def _crash(ending: Ending, model: str, doing: str, number: int | None) -> Exception:
    ends = f"ends the process with {ending.reason}"
    if model == "candidate":
        return CandidateCrashError(f"the candidate model {ends} ({doing})")
    if model == "reference" and number is not None and ending.code < 0:
        return _ReferenceCrashError(number, f"it {ends}")
    if model == "reference":
        return ModelError(f"the reference model {ends} ({doing})")
    return OnnxoptError(f"the comparing process did not start: {ending.reason}")


def _without_paths(text: str, folder: Path) -> str:
    """The child's words with the models' roles in place of its temporary files."""
    for role, words in (("reference", "the original"), ("candidate", "the result")):
        text = text.replace(str(folder / f"{role}.onnx"), words)
    return text


def _phase(folder: Path) -> tuple[str, str, int | None]:
    """Which model was doing what, with which sample, when the child ended."""
    path = folder / PHASE
    if not path.is_file():
        return "", "starting", None
    try:
        model, doing, number = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # killed while writing
        return "candidate", "between two steps", None
    return model, doing, number
