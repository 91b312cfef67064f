"""Calibration: time and peak memory against ONNX Runtime's calibrators, on ResNet-50-size work."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
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
TITLE = "Calibration of every tensor of a ResNet-50, 224 x 224, one thread"
TEXT = (
    "Each run in a process of its own; made-up weights and images, made as they are asked for. "
    "ONNX Runtime's calibrators have their defaults (Entropy's 128 bins offer one threshold, so "
    "its ranges equal MinMax's) and one thread. The limits are ours."
)


def measure(
    method: str, count: int, model: Path, options: Options, limits: Mapping[str, float]
) -> dict[str, Any]:
    """Seconds and peak memory of one calibration, or how it failed."""
    ours = method == OURS
    memory = int(limits["memory_gb"] * 1e9)
    python = python_of(OWN if ours else "onnxruntime", options.cache)
    job = "calibrate_ours" if ours else "calibrate_onnxruntime"
    arguments = {} if ours else {"method": method}
    place = Place(python, ours=ours, memory_bytes=memory)
    try:
        with Worker(place, job) as worker:
            worker.ask("import", limits["seconds"])
            tensors = worker.ask(
                "run", limits["seconds"], model=str(model), samples=count, **arguments
            )
            peak = worker.peak_rss_bytes
            return {"seconds": worker.seconds, "peak_rss_bytes": peak, "tensors": tensors}
    except PeerFailure as failure:
        if failure.kind == "too much memory":
            text = f"more than the {limits['memory_gb']:g} GB it was given"
            failure = PeerFailure(failure.kind, text)
        return plain_failure(failure)


def table(measured: Mapping[str, Mapping[str, Any]]) -> Table:
    """Methods by number of samples."""
    rows = []
    for method, found in measured.items():
        tensors = [one["tensors"] for one in found.values() if "tensors" in one]
        row: dict[str, Any] = {"calibrator": method, "tensors": tensors[0] if tensors else None}
        for count, one in found.items():
            cell = failure_of(one)
            row[f"{count} images"] = cell or (
                f"{one['seconds']:.1f} s, {one['peak_rss_bytes'] / 1e9:.2f} GB"
            )
        rows.append(row)
    return Table("Time and peak memory", rows, TEXT)


def arguments() -> argparse.Namespace:
    """What was asked."""
    parser = parser_for(__doc__, rounds=1)
    parser.add_argument("--counts", type=int, nargs="*", default=list(COUNTS))
    parser.add_argument("--seconds", type=float, default=120.0, help="most time of one run")
    usable = min(8.0, round(psutil.virtual_memory().available * 0.6 / 1e9, 1))
    parser.add_argument("--memory-gb", type=float, default=usable, help="most memory of one run")
    return parser.parse_args()


def main() -> None:
    """Measure every method and write the results."""
    asked = arguments()
    options = options_of(asked)
    counts = [4, 8] if options.quick else asked.counts
    limits = {"seconds": asked.seconds, "memory_gb": asked.memory_gb}
    model = made_resnet.write(options.cache / "resnet50.onnx")
    ledger, digest = options.ledger(__file__), hash_of(model)
    measured: dict[str, dict[str, Any]] = {}
    for method in (*METHODS, OURS):
        name = method if method == OURS else f"ORT {method}"
        version = our_version() if method == OURS else version_of("onnxruntime")
        for count in counts:
            say(f"calibration: {name}, {count} images")
            key = [method, count, digest, version, harness_version(), limits]
            row = ledger.row(key, partial(measure, method, count, model, options, limits))
            measured.setdefault(name, {})[str(count)] = row
    page = Document("peers_calibration", TITLE, [table(measured)], measured | {"limits": limits})
    print(page.write(options.output).read_text())


if __name__ == "__main__":
    main()
