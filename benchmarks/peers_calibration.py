"""Calibrating a ResNet-50 and quantizing with it: time and peak memory, ONNX Runtime beside us."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from peers import made_resnet
from peers.environments import OWN, python_of, version_of
from peers.failure import PeerFailure
from peers.ledger import harness_version, hash_of, our_version
from peers.options import Options, options_of, parser_for
from peers.process import Place, Worker
from peers.results import Document, Table, failure_of, plain_failure, say

COUNTS = (16, 64, 256)
METHODS = ("MinMax", "Percentile", "Entropy")
OURS = "ours: min-max and percentile in one pass"
QUANTIZERS = ("MinMax", "Entropy", "ours: minmax", "ours: percentile", "ours: entropy")
QUANTIZED = 64
TITLE = "Calibrating a ResNet-50, 224 x 224, and quantizing it"
TEXT = (
    "Every tensor. Each run in a process of its own; made-up weights and images, made as they are "
    "asked for. "
    "ONNX Runtime's calibrators have their defaults (Entropy's 128 bins offer one threshold, so "
    "its ranges equal MinMax's); one thread on both sides. The limits are ours."
)
QUANTIZED_TEXT = (
    "From the file to the int8 file on all cores, as the tools come: `quantize_static` with uint8 "
    "activations and int8 weights per channel, and the pass `quantize-static`, which taps what it "
    "quantizes. Neither repairs anything. The median of rounds in which one follows the other; how "
    "many times as fast as another is of the same round, median, least and greatest."
)
_MOST_GB = 16.0

Measured = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Limits:
    """What one run may take.

    Attributes:
        seconds: Of time.
        memory_gb: Of memory.
    """

    seconds: float
    memory_gb: float


@dataclass(frozen=True)
class Work:
    """One job on so many images.

    Attributes:
        method: The calibrator; ``OURS`` for ours.
        count: Of images.
        whole: Whether the model is quantized with it.
    """

    method: str
    count: int
    whole: bool = False

    @property
    def ours(self) -> bool:
        """Whether our own code does it."""
        return self.method.startswith("ours")

    @property
    def name(self) -> str:
        """What the tables call it."""
        return self.method if self.ours else f"ORT {self.method}"

    @property
    def key(self) -> list[Any]:
        """What its row depends on beside the model and the limits."""
        version = our_version() if self.ours else version_of("onnxruntime")
        return [self.method, self.count, self.whole, version, harness_version()]

    def ask(self, worker: Worker, model: Path, seconds: float) -> dict[str, Any]:
        """Have it done."""
        told: dict[str, Any] = {"model": str(model), "samples": self.count}
        if not self.whole:
            told |= {} if self.ours else {"method": self.method}
            return {"tensors": worker.ask("run", seconds, **told)}
        with tempfile.TemporaryDirectory() as folder:
            target = str(Path(folder) / "int8.onnx")
            method = self.method.split(": ")[-1]
            size = worker.ask("quantize", seconds, **told, method=method, target=target)
            return {"file_bytes": size}


def measure(work: Work, model: Path, options: Options, limits: Limits) -> dict[str, Any]:
    """Seconds and peak memory of one job, or how it failed."""
    python = python_of(OWN if work.ours else "onnxruntime", options.cache)
    job = "calibrate_ours" if work.ours else "calibrate_onnxruntime"
    place = Place(
        python,
        ours=work.ours,
        memory_bytes=int(limits.memory_gb * 1e9),
        one_thread=not work.whole,
    )
    try:
        with Worker(place, job) as worker:
            worker.ask("import", limits.seconds)
            found = work.ask(worker, model, limits.seconds)
            peak = worker.peak_rss_bytes
            return {"seconds": worker.seconds, "peak_rss_bytes": peak, **found}
    except PeerFailure as failure:
        if failure.kind == "too much memory":
            text = f"more than the {limits.memory_gb:g} GB it was given"
            failure = PeerFailure(failure.kind, text)
        return plain_failure(failure)


def contest(
    works: Sequence[Work], model: Path, options: Options, limits: Limits
) -> dict[str, list[dict[str, Any]]]:
    """Rounds in which each job runs once after the other, by its name."""
    found: dict[str, list[dict[str, Any]]] = {work.name: [] for work in works}
    for number in range(options.rounds):
        for work in works:
            say(f"quantization: {work.name}, {work.count} images, round {number + 1}")
            found[work.name].append(measure(work, model, options, limits))
    return found


def contest_table(found: Mapping[str, Sequence[Mapping[str, Any]]], count: int) -> Table:
    """Methods by what they take, and by how they compare with ONNX Runtime's."""
    rows = []
    for name, rounds in found.items():
        row = {"by": name}
        failure = next((cell for one in rounds if (cell := failure_of(one))), None)
        if failure is not None:
            rows.append(row | {f"{count} images": failure})
            continue
        seconds = statistics.median(one["seconds"] for one in rounds)
        peak = max(one["peak_rss_bytes"] for one in rounds)
        row["file"] = f"{rounds[0]['file_bytes'] / 1e6:.1f} MB"
        row[f"{count} images"] = f"{seconds:.2f} s, {peak / 1e9:.2f} GB"
        for rival in [rival for rival in found if rival != name and not rival.startswith("ours")]:
            row[f"{rival}'s time over it"] = _ratios(found[rival], rounds)
        rows.append(row)
    return Table("Calibration and quantization", rows, QUANTIZED_TEXT)


def _ratios(rival: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]]) -> str:
    if any(failure_of(one) for one in rival):
        return ""
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(rival, ours, strict=True)]
    return f"{statistics.median(ratios):.2f}x [{min(ratios):.2f}, {max(ratios):.2f}]"


def table(title: str, text: str, measured: Measured) -> Table:
    """Methods by number of samples."""
    rows = []
    for name, found in measured.items():
        tensors = [one["tensors"] for one in found.values() if "tensors" in one]
        row: dict[str, Any] = {"by": name}
        row |= {"tensors": tensors[0]} if tensors else {}
        for count, one in found.items():
            cell = failure_of(one)
            row[f"{count} images"] = cell or (
                f"{one['seconds']:.1f} s, {one['peak_rss_bytes'] / 1e9:.2f} GB"
            )
        rows.append(row)
    return Table(title, rows, text)


def arguments() -> argparse.Namespace:
    """What was asked."""
    parser = parser_for(__doc__, rounds=5)
    parser.add_argument("--counts", type=int, nargs="*", default=list(COUNTS))
    parser.add_argument("--seconds", type=float, default=120.0, help="most time of one run")
    usable = min(_MOST_GB, round(psutil.virtual_memory().available * 0.6 / 1e9, 1))
    parser.add_argument("--memory-gb", type=float, default=usable, help="most memory of one run")
    return parser.parse_args()


def main() -> None:
    """Measure every method and write the results."""
    asked = arguments()
    options = options_of(asked)
    counts = [4, 8] if options.quick else asked.counts
    limits = Limits(asked.seconds, asked.memory_gb)
    model = made_resnet.write(options.cache / "resnet50.onnx")
    ledger, digest = options.ledger(__file__), hash_of(model)
    measured: dict[str, dict[str, Any]] = {}
    for work in [Work(method, count) for method in (*METHODS, OURS) for count in counts]:
        say(f"calibration: {work.name}, {work.count} images")
        key = [*work.key, digest, asdict(limits)]
        row = ledger.row(key, partial(measure, work, model, options, limits))
        measured.setdefault(work.name, {})[str(work.count)] = row
    count = min(QUANTIZED, max(counts))
    rivals = [Work(method, count, whole=True) for method in QUANTIZERS]
    keys = [[*work.key, digest, asdict(limits), options.rounds] for work in rivals]
    quantized = ledger.row(keys, partial(contest, rivals, model, options, limits))
    tables = [table("Calibration", TEXT, measured), contest_table(quantized, count)]
    raw = {"calibration": measured, "quantization": quantized}
    page = Document("peers_calibration", TITLE, tables, raw | {"limits": asdict(limits)})
    print(page.write(options.output).read_text())


if __name__ == "__main__":
    main()
