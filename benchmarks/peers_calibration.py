"""Calibrating a ResNet-50 and quantizing with it: time and peak memory, ONNX Runtime beside us."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
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
    "quantizes. Neither repairs anything."
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


def table(title: str, text: str, measured: Measured) -> Table:
    """Methods by number of samples."""
    rows = []
    for name, found in measured.items():
        sizes = [one["file_bytes"] for one in found.values() if "file_bytes" in one]
        tensors = [one["tensors"] for one in found.values() if "tensors" in one]
        row: dict[str, Any] = {"by": name}
        row |= {"tensors": tensors[0]} if tensors else {}
        row |= {"file": f"{sizes[0] / 1e6:.1f} MB"} if sizes else {}
        for count, one in found.items():
            cell = failure_of(one)
            row[f"{count} images"] = cell or (
                f"{one['seconds']:.1f} s, {one['peak_rss_bytes'] / 1e9:.2f} GB"
            )
        rows.append(row)
    return Table(title, rows, text)


def arguments() -> argparse.Namespace:
    """What was asked."""
    parser = parser_for(__doc__, rounds=1)
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
    works = [Work(method, count) for method in (*METHODS, OURS) for count in counts]
    works += [Work(method, min(QUANTIZED, max(counts)), whole=True) for method in QUANTIZERS]
    measured: dict[bool, dict[str, dict[str, Any]]] = {False: {}, True: {}}
    for work in works:
        say(f"{'quantization' if work.whole else 'calibration'}: {work.name}, {work.count} images")
        key = [*work.key, digest, asdict(limits)]
        row = ledger.row(key, partial(measure, work, model, options, limits))
        measured[work.whole].setdefault(work.name, {})[str(work.count)] = row
    tables = [
        table("Calibration", TEXT, measured[False]),
        table("Calibration and quantization", QUANTIZED_TEXT, measured[True]),
    ]
    raw = {"calibration": measured[False], "quantization": measured[True]}
    page = Document("peers_calibration", TITLE, tables, raw | {"limits": asdict(limits)})
    print(page.write(options.output).read_text())


if __name__ == "__main__":
    main()
