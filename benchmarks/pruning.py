"""Channels out of real models: what reconstruction heals, and speed against accuracy as a curve.

The first table prunes every convolutional model to 70 % of its channels, with and without
reconstruction. The curve asks for smaller shares of the foreseen time of a few models; with
``--minutes`` (and PyTorch) each point is also trained to do what the original does.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import document

from onnxopt import api, pipeline, store
from onnxopt.api import RunOptions
from onnxopt.api.workbench import Workbench
from onnxopt.comparing import Comparison
from onnxopt.recipe import Recipe
from onnxopt.timing import BenchmarkConfig, Ratio
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.fetch import fetch
from onnxopt_models.tasks import find_task

MODELS = ("digits", "captcha", "ddddocr", "pp-ocr-cls", "orientation", "pp-ocr-rec", "pp-ocr-det")
CURVES = ("captcha", "orientation")
KEEPS = (0.9, 0.8, 0.7, 0.6, 0.5)
_CUT = "prune-channels{keep=0.7}"
_HEAL = "reconstruct-layers"


@dataclass(frozen=True, eq=False)
class Case:
    """A model of the zoo, exactly rewritten, with its data."""

    name: str
    bench: Workbench
    exact: pipeline.PipelineResult
    test: str
    folder: Path

    @classmethod
    def of(cls, name: str, counts: tuple[int, int], folder: Path) -> Case:
        """Fetch, build the samples to learn from and to judge by, rewrite."""
        task, cache = find_task(name), default_cache_dir()
        learn = str(task.build(cache, samples=counts[0], split="calibration"))
        test = str(task.build(cache, samples=counts[1], split="test"))
        source, options = fetch(task.model), RunOptions()
        bench = Workbench.open(source, api.held_out(source, learn, test, options), options)
        exact = pipeline.run(bench.model, bench.exact, bench.context)
        return cls(name, bench, exact, test, folder)

    def pruned(self, recipe: str, label: str) -> Path:
        """The file that a recipe and then the target's float spellings make."""
        made = pipeline.run(self.exact.model, Recipe.parse(recipe), self.bench.context).model
        return self.finished(made, label)

    def finished(self, model: Any, label: str) -> Path:
        """A model spelled for the target's float kernels, written."""
        tail = Recipe.parse(self.bench.target.float_recipe)
        path = self.folder / f"{self.name}-{label}.onnx"
        store.save(pipeline.run(model, tail, self.bench.context).model, path)
        return path

    def judged(self, path: Path) -> Comparison:
        """Against the original, on the task."""
        metric = find_task(self.name).metric
        return api.compare(self.bench.model, path, data=self.test, metric=metric)

    def timed(self, paths: Sequence[Path], rounds: int) -> dict[str, Ratio]:
        """Each file's speed over the first's, by file name."""
        found = api.benchmark(
            paths, data=self.test, config=BenchmarkConfig(rounds=rounds), samples=1
        )
        return {ratio.candidate: ratio for ratio in found.ratios}


def thirty_percent(case: Case, rounds: int) -> tuple[dict[str, Any], Any]:
    """70 % of the channels, healed and not: errors, the metric, speed over the exact model."""
    exact = case.finished(case.exact.model, "exact")
    bare, healed = case.pruned(_CUT, "cut"), case.pruned(f"{_CUT} | {_HEAL}", "healed")
    before, after = case.judged(bare), case.judged(healed)
    ratio = case.timed([exact, healed], rounds)[healed.name]
    if before.fidelity is None or after.fidelity is None or after.metric is None:
        raise SystemExit(f"{case.name}: nothing to compare")
    row = {
        "model": case.name,
        "relative L2, cut": f"{before.fidelity.mean:.3f}",
        "reconstructed": f"{after.fidelity.mean:.3f}",
        "metric before": f"{after.metric.before:.4f}",
        "reconstructed ": f"{after.metric.after:.4f}",
        "n": after.samples,
        "MB": f"{exact.stat().st_size / 1e6:.2f} → {healed.stat().st_size / 1e6:.2f}",
        "speed-up over exact": f"{ratio.speedup:.2f}",
        "95 %": f"{ratio.low:.2f} to {ratio.high:.2f}",
    }
    return row, {"cut": before.to_json(), "healed": after.to_json(), "ratio": asdict(ratio)}


def curve(case: Case, minutes: float, rounds: int) -> list[dict[str, Any]]:
    """Points of speed and metric, one a share of the foreseen time."""
    exact = case.finished(case.exact.model, "exact")
    train = f" | distill{{minutes={minutes}, patience=0}}" if minutes else ""
    paths = [
        case.pruned(
            f"prune-channels{{keep={keep}, scope=latency, multiple=16}} | {_HEAL}{train}", str(keep)
        )
        for keep in KEEPS
    ]
    ratios = case.timed([exact, *paths], rounds)
    rows = []
    for keep, path in zip(KEEPS, paths, strict=True):
        found, ratio = case.judged(path), ratios[path.name]
        if found.metric is None:
            raise SystemExit(f"{case.name}: no metric")
        change = found.metric.change
        rows.append(
            {
                "model": case.name,
                "share of time asked": keep,
                "time, measured": f"{1 / ratio.speedup:.2f}",
                "95 %": f"{1 / ratio.high:.2f} to {1 / ratio.low:.2f}",
                "metric": f"{found.metric.before:.4f} → {found.metric.after:.4f}",
                "change, 95 %": f"{change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]",
                "n": found.samples,
            }
        )
    return rows


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Time left against the metric's change, a line a model; an HTML file."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == name]
        figure.add_scatter(
            name=name,
            x=[float(row["time, measured"]) for row in own],
            y=[float(row["change, 95 %"].split()[0]) for row in own],
            mode="lines+markers",
        )
    figure.update_layout(
        title="Channels taken out: time left against what the task loses",
        xaxis_title="time of the exact model that is left",
        yaxis_title="change of the metric",
        template="plotly_white",
    )
    figure.write_html(path, include_plotlyjs="cdn", full_html=True, div_id=path.stem)


def main() -> None:
    """Both tables and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=MODELS, metavar="ID")
    parser.add_argument("--curves", nargs="*", default=CURVES, metavar="ID")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--learn", type=int, default=64, help="samples for the first table")
    parser.add_argument("--train", type=int, default=512, help="samples for the curve")
    parser.add_argument("--samples", type=int, default=500, help="of the task, to judge by")
    parser.add_argument("--minutes", type=float, default=0.0, help="of training for each point")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        counts = arguments.learn, arguments.samples
        found = [
            thirty_percent(Case.of(name, counts, folder), arguments.rounds)
            for name in arguments.models
        ]
        if found:
            title = "70 % of the channels left, on top of the exact recipe, no training"
            document.write("pruning", title, [row for row, _ in found], [raw for _, raw in found])
        counts = arguments.train, arguments.samples
        rows = [
            row
            for name in arguments.curves
            for row in curve(Case.of(name, counts, folder), arguments.minutes, arguments.rounds)
        ]
        if rows:
            how = f"{arguments.minutes:g} minutes of training a point" if arguments.minutes else ""
            title = "Shares of the time left, on top of the exact recipe, reconstructed"
            document.write("pruning_curve", f"{title}; {how or 'no training'}", rows, {})
            draw(rows, document.RESULTS / "pruning_curve.html")


if __name__ == "__main__":
    main()
