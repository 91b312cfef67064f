"""int8 and reduced precision: every tool's best and default way, in speed, size and accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from peers import picture
from peers.accuracy import Judged, judge
from peers.contest import Contestant, Runtime, Timed, time_together
from peers.environments import OWN
from peers.failure import PeerFailure
from peers.jobs import OPENVINO_TARGET
from peers.options import Options, options_of, parser_for
from peers.results import Document, Table, failure_of, geomean, plain_failure, ratio, say
from peers.standing import standings
from peers.variants import Maker, make
from peers.zoo import Missing, Subject, subjects

from onnxopt.errors import OnnxoptError
from onnxopt.metrics import metric
from onnxopt.runtime import SessionConfig
from onnxopt.targets import target_names

SHIPPED = "shipped, ORT fp32"
EXACT = Maker("ours, exact", OWN, "optimize", "run", "target", ours=True)
OURS = Maker("ours, int8", OWN, "quantize_ours", "cpu", needs_samples=True, ours=True)
OURS_OPENVINO = Maker(
    *("ours, int8 for OpenVINO", "openvino-provider", "quantize_ours", "openvino"),
    needs_samples=True,
    ours=True,
)
EXACT_OPENVINO = replace(OURS_OPENVINO, name="ours, exact for OpenVINO", task="openvino_exact")
MAKERS = (
    Maker("ORT static, defaults", "onnxruntime", "quantize_onnxruntime", "defaults", "", True),
    Maker("ORT static, U8S8", "onnxruntime", "quantize_onnxruntime", "best", "", True),
    Maker("ORT dynamic", "onnxruntime", "quantize_onnxruntime", "dynamic", "", True),
    Maker("onnxsim static, defaults", "onnxsim", "quantize_onnxsim", "defaults", "", True),
    Maker("onnxsim static, best", "onnxsim", "quantize_onnxsim", "best", "", True),
    Maker("onnxsim dynamic, best", "onnxsim", "quantize_onnxsim", "dynamic", "", True),
    EXACT,
    OURS,
)
NNCF = (
    Maker("NNCF int8, defaults", "openvino", "quantize_nncf", "defaults", "", True, ".xml"),
    Maker("NNCF int8, best", "openvino", "quantize_nncf", "best", "", True, ".xml"),
)
TITLE = "int8 and reduced precision against the shipped file on ONNX Runtime's CPU provider"
TEXT = (
    "One thread everywhere; speed-up with its 95 % interval from interleaved rounds; the metric's "
    "change is paired by sample; the relative L2 error is the mean over samples of the worst "
    "output's. OpenVINO and NNCF run in OpenVINO itself, ours on its provider for ONNX Runtime."
)
_CALIBRATION = 64
_F32 = SessionConfig(provider="openvino")
_BF16 = SessionConfig(provider="openvino", precision="bf16")


def contestants_of(subject: Subject, options: Options, found: dict[str, Any]) -> list[Contestant]:
    """All contestants whose files could be made; the failures of the others go into ``found``."""
    count = 8 if options.quick else _CALIBRATION
    samples = [sample.feeds for sample in subject.samples(count, "calibration")]
    entries: list[Contestant] = [Contestant(SHIPPED, subject.path)]

    def add(maker: Maker, *ways: tuple[str, SessionConfig, Runtime]) -> None:
        try:
            folder = options.cache / "reduced"
            path = make(maker, subject, folder, options.cache, samples).path
        except PeerFailure as failure:
            found.update({name: plain_failure(failure) for name, _, _ in ways})
            return
        entries.extend(Contestant(name, path, session, way) for name, session, way in ways)

    for maker in MAKERS:
        add(maker, (maker.name, SessionConfig(), "onnxruntime"))
    entries += [
        Contestant("OpenVINO fp32", subject.path, _F32, "openvino"),
        Contestant("OpenVINO bf16", subject.path, _BF16, "openvino"),
    ]
    for maker in NNCF:
        add(maker, (maker.name, _F32, "openvino"), (f"{maker.name}, rest bf16", _BF16, "openvino"))
    add(
        EXACT_OPENVINO if OPENVINO_TARGET in target_names() else EXACT,
        ("ours, exact, OpenVINO fp32", _F32, "openvino-provider"),
        ("ours, exact, OpenVINO bf16", _BF16, "openvino-provider"),
    )
    special = OURS_OPENVINO if OPENVINO_TARGET in target_names() else OURS
    add(
        special,
        ("ours, int8, OpenVINO", _F32, "openvino-provider"),
        ("ours, int8, OpenVINO, rest bf16", _BF16, "openvino-provider"),
    )
    return entries


def measure(subject: Subject, options: Options) -> dict[str, Any]:
    """One model in every way: times, sizes and losses, or how it failed."""
    found: dict[str, Any] = {}
    contestants = contestants_of(subject, options, found)
    data = subject.samples(options.samples)
    task = subject.task
    say(f"  {len(contestants)} contestants on {len(data)} samples")
    judged = judge(contestants, data, metric(task.metric) if task else None, options.cache)
    sound = [c for c in contestants if isinstance(judged[c.name], Judged)]
    say(f"  timing {len(sound)}")
    feeds = [sample.feeds for sample in data.take([0])]
    timed = time_together(sound, feeds, options.timing(), options.cache)
    for contestant in contestants:
        row = _row(judged[contestant.name], timed.get(contestant.name))
        found[contestant.name] = row | {"size_bytes": contestant.size_bytes}
    return {name: found[name] for name in _order(found)}


def _order(found: Mapping[str, Any]) -> list[str]:
    """Peers first, ours last."""
    return sorted(
        found, key=lambda name: (name.startswith("ours"), "OpenVINO" in name or "NNCF" in name)
    )


def _row(judged: Judged | PeerFailure, timed: Timed | PeerFailure | None) -> dict[str, Any]:
    if isinstance(judged, PeerFailure):
        return plain_failure(judged)
    if not isinstance(timed, Timed):
        return plain_failure(timed or PeerFailure("not timed", ""))
    return timed.plain() | judged.plain()


def table_of(name: str, found: Mapping[str, Any]) -> Table:
    """All ways of running one model."""
    rows = []
    for way, one in found.items():
        failure = failure_of(one)
        row: dict[str, Any] = {"way": way, "speed-up": failure or ratio(one)}
        if failure is None:
            row["ms"] = f"{one['typical_ms']:.3g}"
            row["MB"] = f"{one['size_bytes'] / 1e6:.2f}"
            row["relative L2"] = f"{one['relative_l2']:.2g}"
            if one["change"]:
                change = one["change"]
                label = one["metric"].split(":")[-1]
                row[label] = f"{one['value']:.4f}"
                row["change, 95 %"] = (
                    f"{change['mean']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}]"
                )
            row["n"] = one["samples"]
        rows.append(row)
    return Table(name, rows)


def summary(measured: Mapping[str, Mapping[str, Any]]) -> Table:
    """Speed-ups and errors of all models by way."""
    rows = []
    for way in dict.fromkeys(way for found in measured.values() for way in found):
        row: dict[str, Any] = {"way": way}
        ran = []
        for name, found in measured.items():
            one = found.get(way)
            if one is None:
                continue
            row[name] = failure_of(one)
            if "failed" not in one:
                ran.append(one["speedup"])
                row[name] = f"{one['speedup']:.2f}, {one['relative_l2']:.2g}"
        row["geometric mean"] = geomean(ran)
        rows.append(row)
    return Table("Speed-up and relative L2 error", rows, TEXT)


def main() -> None:
    """Measure every model and write the results."""
    options = options_of(parser_for(__doc__, rounds=6).parse_args())
    ledger = options.ledger(__file__)
    versions = [maker.key for maker in (*MAKERS, *NNCF)]
    measured: dict[str, Any] = {}
    notes: list[str] = []
    for subject in subjects(options.models):
        if isinstance(subject, Missing):
            notes.append(f"{subject.name} is left out: {subject.reason}")
            continue
        say(f"reduced: {subject.name}")
        key = [subject.sha256, versions, options.rounds, options.samples, options.quick]
        try:
            measured[subject.name] = ledger.row(key, partial(measure, subject, options))
        except (PeerFailure, OnnxoptError) as failure:
            notes.append(f"{subject.name} is left out: {failure}")
            continue
        if subject.note:
            notes.append(f"{subject.name}: {subject.note}")
    write(measured, notes, options)


def write(measured: Mapping[str, Any], notes: Sequence[str], options: Options) -> None:
    """The page, the document and the picture."""
    each = [table_of(name, found) for name, found in measured.items()]
    tables = (summary(measured), *standings(measured), *each)
    page = Document("peers_reduced", TITLE, tables, measured, notes=notes)
    series: dict[str, dict[str, Any]] = {}
    for name, found in measured.items():
        for way, one in found.items():
            if "failed" not in one and way != SHIPPED:
                bar = (one["speedup"], one["low"], one["high"])
                series.setdefault(way, {})[name] = bar
    picture.bars(options.output / "peers_reduced.html", TITLE, "speed-up", series)
    print(page.write(options.output).read_text())


if __name__ == "__main__":
    main()
