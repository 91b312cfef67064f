"""fp32 latency: every model of the zoo as shipped, and as each tool rewrites it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from peers import picture
from peers.accuracy import Judged, judge
from peers.contest import Contestant, Timed, time_together
from peers.environments import OWN
from peers.failure import PeerFailure
from peers.options import Options, options_of, parser_for
from peers.results import Document, Table, failure_of, geomean, plain_failure, ratio, say
from peers.variants import Maker, make
from peers.zoo import Missing, Subject, subjects

from onnxopt.errors import OnnxoptError

SHIPPED = "shipped"
OURS = "ours, exact"
MAKERS = (
    Maker("onnxslim", "onnxslim", "optimize", "run", "onnxslim"),
    Maker("onnxsim", "onnxsim", "optimize", "run", "onnxsim"),
    Maker("ORT, saved", "onnxruntime", "optimize", "run", "ort-all"),
    Maker(OURS, OWN, "optimize", "run", "target", ours=True),
)
TITLE = "fp32: each tool's file against the shipped one, one thread, ORT's full optimisation"
TEXT = (
    "Speed-up over the shipped file with its 95 % interval, from interleaved rounds, each file in "
    "a process of its own. `ORT, saved` is the graph ONNX Runtime wrote after optimising it."
)
_COMPARED = 8
WRONG = 0.01
"""Relative L2 error from which a rewritten file does not count as the same model."""


def measure(subject: Subject, options: Options) -> dict[str, Any]:
    """One model with every tool: times and differences, or how it failed."""
    contestants = [Contestant(SHIPPED, subject.path)]
    found: dict[str, Any] = {}
    for maker in MAKERS:
        try:
            made = make(maker, subject, options.cache / "fp32", options.cache)
            contestants.append(Contestant(maker.name, made.path))
        except PeerFailure as failure:
            found[maker.name] = plain_failure(failure)
    data = subject.samples(_COMPARED)
    judged = judge(contestants, data, None, options.cache)
    right = [c for c in contestants if isinstance(judged[c.name], Judged)]
    feeds = [sample.feeds for sample in data.take([0])]
    timed = time_together(right, feeds, options.timing(), options.cache)
    for contestant in contestants:
        found[contestant.name] = _row(judged[contestant.name], timed.get(contestant.name))
    return found


def _row(judged: Judged | PeerFailure, timed: Timed | PeerFailure | None) -> dict[str, Any]:
    if isinstance(judged, PeerFailure):
        return plain_failure(judged)
    if not judged.relative_l2 <= WRONG:
        text = f"the outputs' relative L2 error is {judged.relative_l2:.2g}"
        return plain_failure(PeerFailure("wrong outputs", text))
    if not isinstance(timed, Timed):
        return plain_failure(timed or PeerFailure("not timed", ""))
    return timed.plain() | {"relative_l2": judged.relative_l2, "samples": judged.samples}


def tables(measured: Mapping[str, Mapping[str, Any]]) -> Sequence[Table]:
    """Speed and differences."""
    speed, away = [], []
    for name, found in measured.items():
        shipped = found[SHIPPED]
        row: dict[str, Any] = {"model": name, "shipped, ms": f"{shipped['typical_ms']:.3g}"}
        errors: dict[str, Any] = {"model": name}
        for maker in MAKERS:
            one = found[maker.name]
            failure = failure_of(one)
            row[maker.name] = failure or ratio(one)
            errors[maker.name] = failure or f"{one['relative_l2']:.1e}"
        speed.append(row)
        away.append(errors)
    mean: dict[str, Any] = {"model": "geometric mean"}
    for maker in MAKERS:
        ran = [f[maker.name]["speedup"] for f in measured.values() if "failed" not in f[maker.name]]
        mean[maker.name] = geomean(ran)
    return (
        Table("Speed-up over the shipped file", [*speed, mean], TEXT),
        Table("Relative L2 difference of the outputs", away),
    )


def main() -> None:
    """Measure every model and write the results."""
    options = options_of(parser_for(__doc__, rounds=12).parse_args())
    ledger = options.ledger(__file__)
    measured, notes = {}, []
    for subject in subjects(options.models):
        if isinstance(subject, Missing):
            notes.append(f"{subject.name} is left out: {subject.reason}")
            continue
        say(f"fp32: {subject.name}")
        key = [subject.sha256, [m.key for m in MAKERS], options.rounds, options.quick]
        try:
            measured[subject.name] = ledger.row(key, partial(measure, subject, options))
        except (PeerFailure, OnnxoptError) as failure:
            notes.append(f"{subject.name} is left out: {failure}")
            continue
        if subject.note:
            notes.append(f"{subject.name}: {subject.note}")
    page = Document("peers_fp32", TITLE, tables(measured), measured, notes=notes)
    series = {
        m.name: {
            name: (f[m.name]["speedup"], f[m.name]["low"], f[m.name]["high"])
            for name, f in measured.items()
            if "failed" not in f[m.name]
        }
        for m in MAKERS
    }
    picture.bars(options.output / "peers_fp32.html", TITLE, "speed-up", series)
    print(page.write(options.output).read_text())


if __name__ == "__main__":
    main()
