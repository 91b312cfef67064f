"""The exact recipe against the shipped file: speed under ORT's full optimisation, and agreement."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import document
import numpy as np

from onnxopt import api
from onnxopt.api import RunOptions
from onnxopt.api.specializing import Specialization
from onnxopt.runtime import SessionConfig
from onnxopt.timing import BenchmarkConfig
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.fetch import fetch
from onnxopt_models.tasks import TASKS, find_task

MODELS = (
    "pp-ocr-rec", "pp-ocr-det", "pp-ocr-cls", "orientation", "ddddocr", "captcha", "minilm-l3",
    "magika", "chars2vec", "effnet-lite0", "recommender", "mlp", "digits",
)  # fmt: skip
SILERO = {
    "silero-vad": Specialization(),
    "silero-vad, --set sr=16000": Specialization(inputs={"sr": 16000}),
    "silero-vad, --set sr=16000, one window of 576": Specialization(
        dims={"input:0": 1, "input:1": 576, "state:1": 1}, inputs={"sr": 16000}
    ),
}
DIMS = {"orientation": {}, "digits": {"N": 1}}


def measure(case: str, rounds: int, samples: int, folder: Path) -> tuple[dict[str, Any], Any]:
    """Optimize one model, compare on its task's samples (else made-up ones), time both."""
    name = case.partition(",")[0]
    source = fetch(name)
    output = folder / f"{name}.onnx"
    specialize = SILERO.get(case, Specialization())
    options = RunOptions(dims=DIMS.get(name, {}))
    result = api.optimize(source, output, options=replace(options, specialize=specialize))
    data = _windows(folder, samples) if case in SILERO else _data(name, samples)
    found = api.compare(source, output, data=data or "random", options=options)
    own = api.compare(
        source,
        source,
        data=data or "random",
        candidate_session=SessionConfig(optimization="off", spinning=False),
        options=options,
    )
    timing = api.benchmark(
        [source, output],
        data=data,
        config=BenchmarkConfig(rounds=rounds),
        samples=2,
        options=options,
    )
    ratio, (before, after) = timing.ratios[0], timing.measurements
    row = {
        "model": case,
        "nodes": f"{result.steps[0].before.nodes} → {result.steps[-1].after.nodes}",
        "worst absolute difference": f"{max(o.worst_abs for o in found.outputs):.2g}",
        "shipped, ORT's optimisation on and off": f"{max(o.worst_abs for o in own.outputs):.2g}",
        "samples compared": found.samples,
        "shipped, p50 ms": f"{before.latency.p50:.2f}",
        "exact, p50 ms": f"{after.latency.p50:.2f}",
        "speed-up": f"{ratio.speedup:.2f}",
        "95 %": f"{ratio.low:.2f} to {ratio.high:.2f}",
    }
    return row, {
        "benchmark": asdict(timing),
        "comparison": found.to_json(),
        "shipped with optimisation on and off": own.to_json(),
    }


def _data(name: str, samples: int) -> str | None:
    if name not in [task.name for task in TASKS]:
        return None
    count = samples if name == "pp-ocr-rec" else min(samples, 16)
    return str(find_task(name).build(default_cache_dir(), samples=count, split="test"))


def _windows(folder: Path, samples: int) -> str:
    """Windows of noise as silero-vad takes them, each with a state of its own."""
    rng, target = np.random.default_rng(0), folder / "windows"
    target.mkdir(exist_ok=True)
    for number in range(samples):
        np.savez(
            target / f"{number:03}.npz",
            input=rng.normal(0, 0.1, (1, 576)).astype(np.float32),
            state=rng.normal(0, 0.1, (2, 1, 128)).astype(np.float32),
            sr=np.array(16000, np.int64),
        )
    return str(target)


def main() -> None:
    """Measure every model and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("models", nargs="*", default=[*MODELS, *SILERO])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = {
            name: measure(name, arguments.rounds, arguments.samples, Path(folder))
            for name in arguments.models
        }
    rows = [row for row, _ in measured.values()]
    raw = {name: more for name, (_, more) in measured.items()}
    title = "Exact recipe against the shipped file, one thread, ORT's full optimisation for both"
    document.write("exact_rewrites", title, rows, raw)


if __name__ == "__main__":
    main()
