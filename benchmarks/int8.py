"""What ``onnxopt quantize`` ships in a budget, over the zoo: speed, size, the task's metric."""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import document
from peers.ledger import Ledger, our_version

from onnxopt import api
from onnxopt.api import Budget, RunOptions
from onnxopt.data import DataOptions
from onnxopt.timing import BenchmarkConfig
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.fetch import fetch
from onnxopt_models.tasks import find_task

DEMANDING = ("effnet-lite0", "pp-ocr-rec", "ddddocr", "captcha", "minilm-l3", "pp-ocr-det")
MODELS = (
    *("digits", "mlp", "magika", "recommender", "chars2vec", "silero-vad"),
    *("ddddocr-int8", "pp-ocr-cls", "orientation", *DEMANDING),
)
MAX_DROP = 0.01
STEPS = 20
"""Steps of a stream that stand for one sample: steps beside one another say much the same."""


def measure(name: str, samples: int, rounds: int) -> dict[str, Any]:
    """Quantize one model as the command does, judge on held-out samples, time three files.

    Returns:
        The ``row`` of the table and what is ``raw`` behind it.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _measure(name, samples, rounds, Path(folder))


def _measure(name: str, samples: int, rounds: int, folder: Path) -> dict[str, Any]:
    task, cache = find_task(name), default_cache_dir()
    steps = STEPS if task.state else 1
    calibration = str(task.build(cache, samples=96 * steps, split="calibration"))
    test = str(task.build(cache, samples=samples * steps, split="test"))
    reading = DataOptions(state=task.state)
    source = fetch(task.model)
    exact, int8 = folder / f"{name}-exact.onnx", folder / f"{name}-int8.onnx"
    api.optimize(source, exact, data=test, options=RunOptions(reading=reading))
    options = RunOptions(measure=True, reading=reading)
    started = time.monotonic()
    result = api.quantize(
        source,
        int8,
        data=api.held_out(source, calibration, test, options),
        budget=Budget(metric=task.metric, max_drop=MAX_DROP),
        options=options,
    )
    seconds = time.monotonic() - started
    config = BenchmarkConfig(rounds=rounds)
    timing = api.benchmark(
        [source, exact, int8], data=test, config=config, samples=2, options=options
    )
    found = result.comparison
    if found.metric is None or found.fidelity is None:
        raise SystemExit(f"{name}: the comparison has no metric")
    change = found.metric.change
    over_shipped, over_exact = timing.ratios[1], timing.ratio(exact.name, int8.name)
    row = {
        "model": name,
        "ships": result.verdict,
        "size": f"{source.stat().st_size / 1e6:.2f} → {int8.stat().st_size / 1e6:.2f} MB",
        "speed-up over shipped": f"{over_shipped.speedup:.2f}",
        "95 %": f"{over_shipped.low:.2f} to {over_shipped.high:.2f}",
        "over exact": f"{over_exact.speedup:.2f}",
        "metric": found.metric.name.split(":")[-1].split("{")[0],
        "before": f"{found.metric.before:.4f}",
        "int8": f"{found.metric.after:.4f}",
        "int8's change, 95 %": f"{change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]",
        "n": found.samples,
        "inside": str(found.verdict.status) if found.verdict else "",
        "relative L2": f"{found.fidelity.mean:.3f}",
        "minutes": f"{seconds / 60:.1f}",
    }
    raw = {
        "speedup": over_shipped.speedup,
        "why": result.why,
        "recipe": str(result.recipe),
        "benchmark": asdict(timing),
        "comparison": found.to_json(),
    }
    return {"row": row, "raw": raw}


def write(found: Mapping[str, Mapping[str, Any]]) -> None:
    """The table of what is measured so far, with the geometric means above it."""
    speedups = {name: one["raw"]["speedup"] for name, one in found.items()}
    means = {"demanding": _mean(speedups, DEMANDING), "all": _mean(speedups, MODELS)}
    title = (
        "onnxopt quantize with a budget of one point of the metric, one thread; geometric mean of "
        f"the speed-ups {means['all']:.2f} over {len(found)} models"
    )
    if means["demanding"] is not None:
        title += f", {means['demanding']:.2f} over {', '.join(n for n in DEMANDING if n in found)}"
    raw = {"means": means} | {name: one["raw"] for name, one in found.items()}
    document.write("int8", title, [one["row"] for one in found.values()], raw)


def _mean(speedups: Mapping[str, float], names: Collection[str]) -> float | None:
    logs = [math.log(speedup) for name, speedup in speedups.items() if name in names]
    return math.exp(sum(logs) / len(logs)) if logs else None


def main() -> None:
    """Measure the models; the results are written after each, and finished ones kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS, metavar="ID")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--fresh", action="store_true", help="measure anew what is kept")
    asked = parser.parse_args()
    folder = default_cache_dir() / "benchmarks" / "rows" / "int8"
    ledger = Ledger(folder, asked.fresh, Path(__file__))
    found = {}
    for name in asked.models:
        key = [name, asked.samples, asked.rounds, our_version()]
        found[name] = ledger.row(key, partial(measure, name, asked.samples, asked.rounds))
        write(found)


if __name__ == "__main__":
    main()
