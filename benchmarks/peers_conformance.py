"""Conformance: every model of the onnx package before and after each tool."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from peers.environments import OWN, python_of
from peers.failure import PeerFailure
from peers.ledger import harness_version
from peers.options import Options, options_of, parser_for
from peers.process import Place, Worker
from peers.results import Document, Table, say
from peers.variants import Maker

SUPPORT = Path(__file__).parent.parent / "tests" / "support"
MAKERS = (
    Maker("onnxscript", "onnxscript", "optimize", "run", "onnxscript"),
    Maker("onnxsim", "onnxsim", "optimize", "run", "onnxsim"),
    Maker("onnxslim", "onnxslim", "optimize", "run", "onnxslim"),
    Maker("onnxoptimizer", "onnxoptimizer", "optimize", "run", "onnxoptimizer"),
    Maker("ORT basic, saved", "onnxruntime", "optimize", "run", "ort-basic"),
    Maker("ORT all, saved", "onnxruntime", "optimize", "run", "ort-all"),
    Maker("ours, exact", OWN, "optimize", "run", "exact", ours=True),
    Maker("ours, target", OWN, "optimize", "run", "target", ours=True),
)
VERDICTS = ("ok", "exception", "does not load", "wrong", "crash", "too slow", "too much memory")
TITLE = "Conformance: the models of the onnx package before and after each tool"
_WAIT_S = 30.0
_AT_ONCE = 2
_A_WORKER = 100
"""Models that one process of a tool takes: some leave things behind that add up."""
_PROGRESS = 250


@dataclass
class Reliable:
    """A worker that is started anew when it is gone."""

    place: Place
    job: str
    tool: str = ""
    most: int | None = None
    _worker: Worker | None = None
    _asked: int = 0

    def ask(self, task: str, **arguments: Any) -> Any:
        """Ask the worker, or a new one.

        Raises:
            PeerFailure: It raised, crashed or took too long.
        """
        spent = self.most is not None and self._asked >= self.most
        if self._worker is None or not self._worker.is_alive or spent:
            self.close()
            self._asked = 0
            self._worker = Worker(self.place, self.job)
            if self.tool:
                self._worker.ask("load", 2 * _WAIT_S, tool=self.tool)
        self._asked += 1
        return self._worker.ask(task, _WAIT_S, **arguments)

    def close(self) -> None:
        """End it; the next question starts another."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def checker() -> Reliable:
    """Who runs models; knows the inputs of all of them."""
    place = Place(python_of(OWN, Path()), ours=True, folders=(str(SUPPORT),))
    return Reliable(place, "check")


def originals(folder: Path, every: int) -> dict[str, Any]:
    """Write the models and find out which can be compared."""
    judge, found = checker(), []
    folder.mkdir(parents=True, exist_ok=True)
    total = judge.ask("count")
    for number in range(0, total, every):
        if number % (_PROGRESS * every) == 0:
            say(f"conformance: originals, {number} of {total}")
        try:
            row = judge.ask("original", number=number, to=str(folder / f"{number}.onnx"))
        except PeerFailure as failure:
            row = {"name": f"model {number}", "why": str(failure)}
        found.append(row | {"number": number})
    judge.close()
    return {"total": total, "taken": len(found), "cases": [c for c in found if not c["why"]]}


def measure(
    maker: Maker, cases: Sequence[Mapping[str, Any]], folder: Path, options: Options
) -> dict[str, Any]:
    """What one tool does with every model."""
    place = Place(python_of(maker.peer, options.cache), ours=maker.peer == OWN)
    tool, judge = Reliable(place, maker.job, maker.tool, _A_WORKER), checker()
    counts: Counter[str] = Counter()
    failures = []
    target = folder / f"{maker.name.replace(' ', '-')}.onnx"
    for done, case in enumerate(cases):
        if done % _PROGRESS == 0:
            say(f"conformance: {maker.name}, {done} of {len(cases)}")
        source = folder / f"{case['number']}.onnx"
        target.unlink(missing_ok=True)
        verdict, said = _verdict(maker, tool, judge, (case["number"], source, target))
        counts[verdict] += 1
        if verdict != "ok":
            failures.append({"model": case["name"], "verdict": verdict, "said": said})
    tool.close()
    judge.close()
    return {"counts": dict(counts), "failures": failures}


def _verdict(
    maker: Maker, tool: Reliable, judge: Reliable, case: tuple[int, Path, Path]
) -> tuple[str, str]:
    number, source, target = case
    arguments = {"tool": maker.tool, "source": str(source), "target": str(target)}
    try:
        tool.ask("run", **arguments)
    except PeerFailure:
        tool.close()  # once more in a process of its own: perhaps the last one was worn out
        try:
            tool.ask("run", **arguments)
        except PeerFailure as failure:
            return failure.kind, failure.text[:300]
    if not target.is_file():
        return "exception", "it wrote nothing"
    try:
        found = judge.ask("check", number=number, original=str(source), candidate=str(target))
    except PeerFailure as failure:
        return ("crash" if failure.kind == "exception" else failure.kind), failure.text[:300]
    return found["verdict"], found["said"][:300]


def tables(measured: Mapping[str, Any], corpus: Mapping[str, Any]) -> tuple[Table, ...]:
    """Counts, and which models fail where they are few."""
    count = len(corpus["cases"])
    rows = []
    for name, found in measured.items():
        seen = found["counts"]
        rows.append({"tool": name} | {verdict: seen.get(verdict, 0) for verdict in VERDICTS})
    text = (
        f"{corpus['taken']} of {corpus['total']} models were taken; ONNX Runtime with optimisation "
        f"off runs {count} of them and they hold no random op. Each is run before and after, with "
        "optimisation off, on the same inputs; outputs must agree to 1e-4 absolute plus 1e-3 "
        "relative. A crash in either process counts as one. A process takes a hundred "
        "models, and what a tool fails at it tries once more in a fresh one."
    )
    shown = [
        {"tool": name, "model": f["model"], "verdict": f["verdict"], "said": f["said"][:100]}
        for name, found in measured.items()
        for f in found["failures"][:_SHOWN]
    ]
    found = [Table("Outcomes", rows, text)]
    if shown:
        note = f"The first {_SHOWN} of each tool; all are in the JSON document."
        found.append(Table("Failures", shown, note))
    return tuple(found)


_SHOWN = 10


def arguments() -> argparse.Namespace:
    """What was asked."""
    parser = parser_for(__doc__, rounds=1)
    parser.add_argument("--every", type=int, default=1, help="take every n-th model")
    parser.add_argument("--tools", nargs="*", default=[], help="only tools whose names begin so")
    return parser.parse_args()


def main() -> None:
    """Run every tool over the corpus and write the results."""
    asked = arguments()
    options = options_of(asked)
    every = max(asked.every, 20) if options.quick else asked.every
    ledger = options.ledger(__file__)
    folder = options.cache / "corpus" / f"onnx-{onnx.__version__}"
    corpus = ledger.row(
        ["originals", onnx.__version__, every, harness_version()], lambda: originals(folder, every)
    )
    digest = json.dumps([[case["number"], case["name"]] for case in corpus["cases"]])
    makers = [m for m in MAKERS if not asked.tools or m.name.startswith(tuple(asked.tools))]

    def row(maker: Maker) -> dict[str, Any]:
        key = [maker.key, digest]
        return ledger.row(key, lambda: measure(maker, corpus["cases"], folder, options))

    for maker in makers:
        python_of(maker.peer, options.cache)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        measured = dict(zip([m.name for m in makers], pool.map(row, makers), strict=True))
    raw = {"models": len(corpus["cases"]), "tools": measured}
    page = Document("peers_conformance", TITLE, tables(measured, corpus), raw)
    print(page.write(options.output).read_text())


if __name__ == "__main__":
    main()
