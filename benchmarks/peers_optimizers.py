"""Optimizers: time, peak memory and nodes left, on the zoo and on a BERT of 265 MB."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from peers import made_bert
from peers.environments import OWN, python_of
from peers.failure import PeerFailure
from peers.options import Options, options_of, parser_for
from peers.process import Place, Worker
from peers.results import Document, Table, failure_of, geomean, plain_failure, say
from peers.variants import Maker
from peers.zoo import Missing, Subject, subjects

MAKERS = (
    Maker("onnxslim", "onnxslim", "optimize", "run", "onnxslim"),
    Maker("onnxsim", "onnxsim", "optimize", "run", "onnxsim"),
    Maker("onnxscript", "onnxscript", "optimize", "run", "onnxscript"),
    Maker("onnxoptimizer", "onnxoptimizer", "optimize", "run", "onnxoptimizer"),
    Maker("ORT basic", "onnxruntime", "optimize", "run", "ort-basic"),
    Maker("ours, clean", OWN, "optimize", "run", "clean", ours=True),
    Maker("ours, exact", OWN, "optimize", "run", "exact", ours=True),
    Maker("ours, target", OWN, "optimize", "run", "target", ours=True),
    Maker("ours, target, verified", OWN, "optimize", "run", "target-verified", ours=True),
)
TITLE = "Optimizers: time, memory and nodes"
TEXT = (
    "Reading, optimizing and writing in a fresh process, one thread; the tool's import is not "
    "counted. `clean` and `exact` fit every device, `target` is this machine's recipe; none of "
    "them verifies here but the last row, which runs original and result side by side in a child, "
    "as `onnxopt optimize` does by default (the child's memory is not counted)."
)
_TIMEOUT_S = 180.0


def measure(maker: Maker, path: Path, options: Options) -> dict[str, Any]:
    """Cost and outcome of one tool on one model."""
    target = options.cache / "optimized.onnx"
    try:
        place = Place(python_of(maker.peer, options.cache), ours=maker.peer == OWN)
        with Worker(place, maker.job) as worker:
            worker.ask("load", _TIMEOUT_S, tool=maker.tool)
            base = worker.peak_rss_bytes
            worker.ask("run", _TIMEOUT_S, tool=maker.tool, source=str(path), target=str(target))
            cost = {"seconds": worker.seconds, "peak_rss_bytes": worker.peak_rss_bytes}
        return cost | {
            "import_rss_bytes": base,
            **count(target),
            "size_bytes": target.stat().st_size,
        }
    except PeerFailure as failure:
        return plain_failure(failure)
    finally:
        target.unlink(missing_ok=True)


def count(path: Path) -> dict[str, Any]:
    """Nodes of a file."""
    from peers.jobs.optimize import count as count_nodes

    return count_nodes(str(path))


def models(options: Options, notes: list[str]) -> Iterator[Subject]:
    """The zoo, then the made-up BERT."""
    for subject in subjects(options.models):
        if isinstance(subject, Missing):
            notes.append(f"{subject.name} is left out: {subject.reason}")
        else:
            yield subject
    if not options.models or "bert" in options.models:
        layers, words = (1, 1000) if options.quick else (6, 30522)
        yield Subject("bert", made_bert.write(options.cache / "bert.onnx", layers, words))


def tables(measured: Mapping[str, Mapping[str, Any]]) -> tuple[Table, ...]:
    """Time, memory and nodes, each by model and tool."""
    kinds: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "Seconds": lambda one: f"{one['seconds']:.2f}",
        "Peak memory of the process, MB": lambda one: f"{one['peak_rss_bytes'] / 1e6:.0f}",
        "Nodes left": lambda one: str(one["nodes"]),
    }
    found = []
    for title, show in kinds.items():
        rows: list[dict[str, Any]] = []
        for name, row in measured.items():
            cells: dict[str, Any] = {"model": name}
            if title == "Nodes left":
                cells["shipped"] = row["shipped"]["nodes"]
            cells |= {m.name: failure_of(row[m.name]) or show(row[m.name]) for m in MAKERS}
            rows.append(cells)
        if title == "Seconds":
            rows.append(_means(measured))
        found.append(Table(title, rows, TEXT if title == "Seconds" else ""))
    return tuple(found)


def _means(measured: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"model": "geometric mean"}
    for maker in MAKERS:
        ran = [f[maker.name]["seconds"] for f in measured.values() if "failed" not in f[maker.name]]
        row[maker.name] = geomean(ran)
    return row


def main() -> None:
    """Run every tool on every model and write the results."""
    options = options_of(parser_for(__doc__, rounds=1).parse_args())
    options.cache.mkdir(parents=True, exist_ok=True)
    ledger = options.ledger(__file__)
    measured: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for subject in models(options, notes):
        say(f"optimizers: {subject.name}")
        measured[subject.name] = {"shipped": count(subject.path)}
        for maker in MAKERS:
            key = [maker.key, subject.sha256]
            measured[subject.name][maker.name] = ledger.row(
                key, partial(measure, maker, subject.path, options)
            )
    page = Document("peers_optimizers", TITLE, tables(measured), measured, notes=notes)
    print(page.write(options.output).read_text())


if __name__ == "__main__":
    main()
