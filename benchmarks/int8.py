"""What ``onnxopt quantize`` gives on real models in a budget: speed, size, the task's metric."""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import document

from onnxopt import api
from onnxopt.api import Budget, RunOptions
from onnxopt.timing import BenchmarkConfig
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.fetch import fetch
from onnxopt_models.tasks import find_task

MODELS = (
    "digits",
    "captcha",
    "ddddocr",
    "minilm-l3",
    "pp-ocr-cls",
    "orientation",
    "effnet-lite0",
    "pp-ocr-rec",
    "pp-ocr-det",
)
MAX_DROP = 0.01


def measure(
    name: str, samples: int, rounds: int, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Quantize one model with the default recipe, compare on held-out samples, time three files."""
    task, cache = find_task(name), default_cache_dir()
    calibration = str(task.build(cache, samples=96, split="calibration"))
    test = str(task.build(cache, samples=samples, split="test"))
    source, options = fetch(task.model), RunOptions(measure=False)
    exact, int8 = folder / f"{name}-exact.onnx", folder / f"{name}-int8.onnx"
    api.optimize(source, exact, data=test, options=options)
    started = time.monotonic()
    result = api.quantize(
        source,
        int8,
        data=api.held_out(source, calibration, test, options),
        budget=Budget(metric=task.metric, max_drop=MAX_DROP, int8_anyway=True),
        options=options,
    )
    seconds = time.monotonic() - started
    timing = api.benchmark(
        [source, exact, int8], data=test, config=BenchmarkConfig(rounds=rounds), samples=2
    )
    found = result.comparison
    if found.metric is None or found.fidelity is None:
        raise SystemExit(f"{name}: the comparison has no metric")
    change = found.metric.change
    over_shipped, over_exact = timing.ratios[1], timing.ratio(exact.name, int8.name)
    row = {
        "model": name,
        "size": f"{source.stat().st_size / 1e6:.2f} → {int8.stat().st_size / 1e6:.2f} MB",
        "speed-up over shipped": f"{over_shipped.speedup:.2f}",
        "95 %": f"{over_shipped.low:.2f} to {over_shipped.high:.2f}",
        "over exact": f"{over_exact.speedup:.2f}",
        "metric": found.metric.name.split(":")[-1].split("{")[0],
        "before": f"{found.metric.before:.4f}",
        "after": f"{found.metric.after:.4f}",
        "change, 95 %": f"{change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]",
        "n": found.samples,
        "verdict": str(found.verdict.status) if found.verdict else "",
        "relative L2": f"{found.fidelity.mean:.3f}",
        "minutes": f"{seconds / 60:.1f}",
    }
    return row, {"benchmark": asdict(timing), "comparison": found.to_json()}


def main() -> None:
    """Measure the models and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=MODELS, metavar="ID")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--samples", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: measure(name, arguments.samples, arguments.rounds, Path(folder))
            for name in arguments.models
        }
    title = "onnxopt quantize with a budget of one point of the metric, one thread"
    raw = {name: more for name, (_, more) in found.items()}
    document.write("int8", title, [row for row, _ in found.values()], raw)


if __name__ == "__main__":
    main()
