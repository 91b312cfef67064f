"""Runs reference and candidate in a process of its own: ``python -m onnxopt.comparing.child DIR``.

A model may crash the runtime, never return or take all memory; then only this process goes.
``DIR`` holds ``request.json`` and the samples; what is being run stands in ``phase.txt`` at every
moment, and the answer in ``result.json``.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from threading import Lock
from typing import Any

import onnx_ir as ir

from onnxopt.comparing.agreement import OutputAgreement, compare_outputs, within_noise
from onnxopt.comparing.exchange import read_sample
from onnxopt.comparing.nudging import nudge, nudged_feeds
from onnxopt.comparing.request import EITHER, FIXED, PHASE, REQUEST, RESULT, Request
from onnxopt.comparing.summary import Accumulator
from onnxopt.data import Sample, SizesSeen
from onnxopt.errors import DataError, LimitError, OnnxoptError
from onnxopt.exactness import Tolerance
from onnxopt.runtime import Session, SessionConfig, open_session
from onnxopt.store import load

_POLL_S = 0.002
_DRAWS = 3
"""Directions of rounding to try: one alone may happen to change little."""

_Found = dict[int, tuple[OutputAgreement, ...]]
"""What was found of each output, by sample number."""


def main(folder: Path) -> None:
    """Answer the request in ``folder``, once it is there."""
    request = _awaited(folder / REQUEST)
    faulthandler.dump_traceback_later(request.timeout_s, exit=True)
    try:
        result = _Run(request, folder).result()
    except OnnxoptError as error:
        parts = {"found": error.found, "wanted": error.wanted, "todo": error.todo}
        result = {"error": type(error).__name__, **parts}
    (folder / RESULT).write_text(json.dumps(result), encoding="utf-8")


def _awaited(path: Path) -> Request:
    """The request; the process ends without its parent, who alone could write it."""
    parent = os.getppid()
    while not path.is_file():
        if os.getppid() != parent:
            os._exit(1)
        time.sleep(_POLL_S)
    request = json.loads(path.read_text(encoding="utf-8"))
    crashed = {int(number): how for number, how in request.pop("crashed").items()}
    return Request(**request, crashed=crashed)


class _Run:
    """One request being answered."""

    def __init__(self, request: Request, folder: Path) -> None:
        self._request = request
        self._folder = folder
        self._config = SessionConfig(
            threads=1,
            optimization=request.optimization,
            spinning=False,
        )
        self._fixed = read_sample(folder, FIXED).feeds
        self._rejected: list[str] = []
        self._culprit: int | None = None
        limits = request.tolerance
        self._tolerance = None if limits is None else Tolerance(*limits)
        self._candidate: Future[Session] | None = None
        self._doing: tuple[str, str, int | None] = ("reference", "loading", None)
        self._telling = Lock()

    def result(self) -> dict[str, Any]:
        if not self._request.together:
            return self._result(self._opened_candidate)
        with ThreadPoolExecutor(1) as second:
            self._candidate = second.submit(self._opened_candidate)
            self._candidate.add_done_callback(lambda _: self._tell())
            return self._result(self._candidate.result)

    def _opened_candidate(self) -> Session:
        config = replace(self._config, provider=self._request.candidate_provider)
        return open_session(Path(self._request.candidate), config)

    def _result(self, opened: Callable[[], Session]) -> dict[str, Any]:
        self._phase("reference", "loading")
        with open_session(Path(self._request.reference), self._config) as session:
            expected = self._reference_outputs(session)
            inputs = tuple(s for s in session.inputs if s.name not in self._fixed)
        if not self._request.candidate:
            return {"accepted": list(expected), "rejected": self._rejected}
        accumulator = Accumulator()
        try:
            self._phase("candidate", "loading")
            with opened() as session:
                wanted = [(spec.name, spec.dtype) for spec in inputs]
                taken = [s for s in session.inputs if s.name not in self._fixed]
                given = [(spec.name, spec.dtype) for spec in taken]
                if wanted != given:
                    text = f"takes {_listed(given)}; wanted {_listed(wanted)}"
                    return self._answer(accumulator, f"the candidate {text}")
                found = self._compare(session, expected)
        except LimitError:
            raise
        except OnnxoptError as error:
            return self._answer(Accumulator(), f"candidate: {error}")
        for number, agreements in self._excuse(found, expected).items():
            accumulator.add(agreements, read_sample(self._folder, number).item)
            if self._culprit is None and _differs(agreements):
                self._culprit = number
        return self._answer(accumulator, "")

    def _reference_outputs(self, session: Session) -> dict[int, dict[str, Any]]:
        """Outputs by sample number, of the samples that the reference accepts."""
        outputs: dict[int, dict[str, Any]] = {}
        last: OnnxoptError | str = ""
        seen = SizesSeen(self._request.variety)
        for number in range(self._request.samples):
            if len(outputs) == self._request.enough:
                break
            sample = read_sample(self._folder, number)
            if self._request.selective and not seen.would_gain(sample.feeds):
                continue
            if number in self._request.crashed:
                self._rejected.append(sample.item)
                last = self._request.crashed[number]
                continue
            self._phase("reference", f"running sample {sample.item}", number)
            try:
                found = session.run({**sample.feeds, **self._fixed})
            except LimitError:
                raise
            except OnnxoptError as error:
                if not self._request.may_reject:
                    raise DataError(f"sample {sample.item}: {error}") from error
                self._rejected.append(sample.item)
                last = error
            else:
                outputs[number] = found if self._request.candidate else {}
                seen.add(sample.feeds)
        if not outputs:
            raise DataError(
                f"the original model rejects all {self._request.samples} made-up inputs: {last}",
                todo="set sizes with --dim or give samples with --data",
            )
        return outputs

    def _compare(self, session: Session, expected: dict[int, dict[str, Any]]) -> _Found:
        agreements: _Found = {}
        for number, outputs in expected.items():
            sample = read_sample(self._folder, number)
            self._phase("candidate", f"running sample {sample.item}")
            found = session.run(_without(sample, self._fixed))
            agreements[number] = self._agreements(outputs, found)
        return agreements

    def _agreements(
        self, outputs: dict[str, Any], found: dict[str, Any]
    ) -> tuple[OutputAgreement, ...]:
        return compare_outputs(outputs, found, self._tolerance, self._request.not_comparable)

    def _excuse(self, found: _Found, expected: dict[int, dict[str, Any]]) -> _Found:
        """Let pass what is as close as the reference is to itself, computed in another order.

        That is without optimisations first. A model may lose its digits in one place whatever the
        order (a variance as the difference of two large numbers); so where that does not do, its
        weights and inputs are moved by one unit in the last place.
        """
        if self._tolerance is None or not self._tolerance.by_magnitude:
            return found
        plain = replace(self._config, optimization="off")
        reference = Path(self._request.reference)
        self._excuse_by(found, expected, "without optimisations", reference, plain)
        for draw in range(_DRAWS):
            if not any(map(_differs, found.values())):
                break
            model = load(reference)
            nudge(model, draw)
            self._excuse_by(found, expected, "off by one rounding", model, self._config)
        return found

    def _excuse_by(
        self,
        found: _Found,
        expected: dict[int, dict[str, Any]],
        how: str,
        model: Path | ir.Model,
        config: SessionConfig,
    ) -> None:
        """Let pass, in place, what is as close as another run of the reference is."""
        differing = [number for number, agreements in found.items() if _differs(agreements)]
        if not differing:
            return
        moved = isinstance(model, ir.Model)
        self._phase("reference", f"loading {how}")
        with open_session(model, config) as session:
            for number in differing:
                sample = read_sample(self._folder, number)
                self._phase("reference", f"running sample {sample.item} {how}")
                feeds = nudged_feeds(sample.feeds) if moved else sample.feeds
                again = session.run({**feeds, **self._fixed})
                noise = self._agreements(expected[number], again)
                found[number] = within_noise(found[number], noise)

    def _answer(self, accumulator: Accumulator, failure: str) -> dict[str, Any]:
        outputs = [asdict(summary) for summary in accumulator.summaries()]
        found = {"outputs": outputs, "culprit": self._culprit}
        return {**found, "rejected": self._rejected, "failure": failure}

    def _phase(self, model: str, what: str, number: int | None = None) -> None:
        self._doing = model, what, number
        self._tell()

    def _tell(self) -> None:
        """Write down what is being done; both threads do, the last of them the latest."""
        with self._telling:
            model, what, number = self._doing
            if self._candidate is not None and not self._candidate.done():
                model = EITHER
            phase = json.dumps([model, what, number])
            (self._folder / PHASE).write_text(phase, encoding="utf-8")


def _differs(agreements: tuple[OutputAgreement, ...]) -> bool:
    return any(agreement.verdict == "differ" for agreement in agreements)


def _without(sample: Sample, fixed: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in sample.feeds.items() if name not in fixed}


def _listed(specs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name}: {dtype or '?'}" for name, dtype in specs) or "none"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)  # the answer is written: nothing of the models needs taking apart
