"""Calibration beside plain inference: time and peak memory, on ResNet-50-size work."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import document
import onnx_ir as ir
from peers import made_resnet

from onnxopt import store
from onnxopt.calibrate import EVERYTHING, EXTREMA, Detail, collect
from onnxopt.data import Dataset, in_memory
from onnxopt.graph import all_nodes
from onnxopt.runtime import SessionConfig, open_session

COUNTS = (16, 64)
PLAIN = "plain inference"
USUAL = "everything of what is quantized"
_DIFFERENT = 8
_CHILD = """
import sys
import calibration_cost
from onnxopt import store
path, case, count = sys.argv[1:]
model = store.load(path)
data = calibration_cost.images(model.graph.inputs[0].name, int(count))
calibration_cost.run(model, case, data)
from onnxopt.timing.memory import peak_rss_bytes
print(peak_rss_bytes())
"""


def tapped(model: ir.Model) -> tuple[str, ...]:
    """The tensors that int8 needs ranges of: what Convs read and write, after their Relus."""
    heavy = ("Conv", "Gemm", "GlobalAveragePool")
    nodes = list(all_nodes(model))
    read = {value for node in nodes if node.op_type in heavy for value in node.inputs[:1]}
    made = {node.outputs[0] for node in nodes if node.op_type in heavy}
    hidden = {value for value in made if all(use.node.op_type == "Relu" for use in value.uses())}
    ends = set(model.graph.outputs)
    return tuple(sorted(v.name or "" for v in (read | made) - (hidden - ends) if v is not None))


def cases(model: ir.Model) -> dict[str, tuple[tuple[str, ...], Detail]]:
    """What is collected of which tensors."""
    names = tapped(model)
    nodes = list(all_nodes(model))
    every = tuple(out.name or "" for node in nodes for out in node.outputs)
    channels = {out.name or "": 1 for n in nodes if n.op_type == "Conv" for out in n.outputs}
    return {
        "min-max of what is quantized": (names, EXTREMA),
        USUAL: (names, EVERYTHING),
        "min-max of every tensor": (every, EXTREMA),
        "everything of every tensor": (every, EVERYTHING),
        "channels of all Convs as well": (every, Detail(channels=channels)),
    }


def images(name: str, count: int) -> Dataset:
    """So many made-up images, of which a few repeat."""
    few = min(count, _DIFFERENT)
    data = in_memory({name: made_resnet.image(number)} for number in range(few))
    return data.take(number % few for number in range(count))


def run(model: ir.Model, case: str, data: Dataset) -> None:
    """Run or calibrate a model."""
    if case != PLAIN:
        names, what = cases(model)[case]
        collect(model, names, data, what=what)
        return
    with open_session(model, SessionConfig()) as session:
        for sample in data:
            session.run(sample.feeds)


def times(path: Path, count: int, rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each case, one after the other in every round, sessions included."""
    model = store.load(path)
    data = images(model.graph.inputs[0].name or "", count)
    found: dict[str, list[float]] = {case: [] for case in (PLAIN, *cases(model))}
    for _ in range(rounds):
        for case, took in found.items():
            start = time.process_time()
            run(model, case, data)
            took.append(time.process_time() - start)
    return found


def peak_mb(path: Path, case: str, count: int) -> float:
    """Peak resident memory of a process that does nothing else, in MB."""
    command = [sys.executable, "-c", _CHILD, str(path), case, str(count)]
    folder = Path(__file__).parent
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    return int(done.stdout.splitlines()[-1]) / 1e6


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=16, help="images a round")
    parser.add_argument("--counts", type=int, nargs="*", default=list(COUNTS))
    parser.add_argument("--most", type=int, default=1024, help=f"images for '{USUAL}'")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = made_resnet.write(Path(folder) / "resnet50.onnx")
        seconds = times(path, arguments.images, arguments.rounds)
        memory: dict[str, dict[int, float | None]] = {
            case: dict.fromkeys((*arguments.counts, arguments.most)) for case in seconds
        }
        for case, peaks in memory.items():
            for count in peaks:
                if count != arguments.most or case in (PLAIN, USUAL):
                    peaks[count] = peak_mb(path, case, count)
        tensors = {case: len(found[0]) for case, found in cases(store.load(path)).items()}
    rows: list[dict[str, Any]] = []
    for case, took in seconds.items():
        ratios = [mine / plain for mine, plain in zip(took, seconds[PLAIN], strict=True)]
        row: dict[str, Any] = {"case": case, "tensors": tensors.get(case, "")}
        row["CPU ms an image"] = f"{statistics.median(took) / arguments.images * 1e3:.0f}"
        row["times plain"] = f"{statistics.median(ratios):.2f}"
        for count, peak in memory[case].items():
            row[f"peak RSS, {count} images"] = "" if peak is None else f"{peak:.0f} MB"
        rows.append(row)
    raw = {"seconds": seconds, "images": arguments.images, "peak_mb": memory}
    title = "Calibration beside plain inference: ResNet-50, 224 x 224, one thread"
    document.write("calibration_cost", title, rows, raw)


if __name__ == "__main__":
    main()
