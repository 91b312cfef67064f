"""int8 on real models: what it gains in speed and size, and what it costs in the task's metric."""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import document

from onnxopt import api
from onnxopt.api import Budget, RunOptions
from onnxopt.timing import BenchmarkConfig
from onnxopt_models import digits
from onnxopt_models.fetch import default_cache_dir, fetch
from onnxopt_models.tasks import find_task


def digits_case() -> tuple[Path, str, str, str]:
    """Model, calibration data, test data and metric of the embedded model."""
    return digits.MODEL, str(digits.CALIBRATION), str(digits.TEST), "top1"


def task_case(name: str, samples: int) -> tuple[Path, str, str, str]:
    """The same of a model of the zoo."""
    task, cache = find_task(name), default_cache_dir()
    calibration = task.build(cache, samples=64, split="calibration")
    test = task.build(cache, samples=samples, split="test")
    return fetch(task.model), str(calibration), str(test), task.metric


def measure(
    name: str, case: tuple[Path, str, str, str], method: str, rounds: int, folder: Path
) -> tuple[dict[str, Any], Any]:
    """Quantize one model, compare on held-out samples, time shipped, exact and int8."""
    source, calibration, test, metric = case
    exact, int8 = folder / f"{name}-exact.onnx", folder / f"{name}-{method}.onnx"
    options = RunOptions()
    if not exact.exists():
        api.optimize(source, exact, data=test, options=options)
    result = api.quantize(
        source,
        int8,
        data=api.held_out(source, calibration, test, options),
        recipe=f"quantize-static{{method={method}}}",
        budget=Budget(metric=metric, max_error=math.inf),
        options=options,
    )
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
        "method": method,
        "size": f"{source.stat().st_size / 1e6:.2f} → {int8.stat().st_size / 1e6:.2f} MB",
        "speed-up over shipped": f"{over_shipped.speedup:.2f}",
        "95 %": f"{over_shipped.low:.2f} to {over_shipped.high:.2f}",
        "over exact": f"{over_exact.speedup:.2f}",
        "metric": found.metric.name.split(":")[-1],
        "before": f"{found.metric.before:.4f}",
        "after": f"{found.metric.after:.4f}",
        "change, 95 %": f"{change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]",
        "n": found.samples,
        "relative L2": f"{found.fidelity.mean:.3f}",
    }
    return row, {"benchmark": asdict(timing), "comparison": found.to_json()}


def main() -> None:
    """Measure the embedded model and pp-ocr-rec, with both methods."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--samples", type=int, default=400)
    arguments = parser.parse_args()
    rows, raw = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("digits", "pp-ocr-rec"):
            case = digits_case() if name == "digits" else task_case(name, arguments.samples)
            for method in ("minmax", "percentile"):
                row, more = measure(name, case, method, arguments.rounds, Path(folder))
                rows.append(row)
                raw[f"{name} {method}"] = more
    document.write("int8", "Static int8 after the exact recipe, one thread", rows, raw)


if __name__ == "__main__":
    main()
