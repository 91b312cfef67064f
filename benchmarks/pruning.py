"""Pruning on real models: what reconstruction heals, speed against accuracy, and zeros.

Three parts. ``table`` prunes every convolutional model to 70 % of its channels, of each group alike
or of all together, with and without reconstruction. ``curve`` asks for smaller shares of the
foreseen time of a few models; with ``--minutes`` (and PyTorch) each point is also trained to do
what the original does. ``zeros`` sets half of the weights of two models to zero, and with
``--minutes`` trains what is left.

A model that fails is told below its table, the others go on; each finished one is written at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import document
from zoo_case import Case, surviving

from onnxopt import store
from onnxopt.comparing import Comparison
from onnxopt.counting import sparsity
from onnxopt.timing import Ratio

MODELS = (
    "digits",
    "captcha",
    "ddddocr",
    "pp-ocr-cls",
    "orientation",
    "effnet-lite0",
    "pp-ocr-rec",
    "pp-ocr-det",
)
CURVES = ("captcha", "orientation")
ZEROS = ("minilm-l3", "effnet-lite0")
KEEPS = (0.9, 0.8, 0.7, 0.6, 0.5)
_CUTS = {
    "each group's": "prune-channels{keep=0.7}",
    "all": "prune-channels{keep=0.7, scope=global}",
}
_HEAL = "reconstruct-layers"
_ZERO = {
    "half": "prune-magnitude{amount=0.5}",
    "half, in two steps": "prune-magnitude{amount=0.35}%s | prune-magnitude{amount=0.5}",
    "2:4": "prune-n-of-m",
}

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What every part is asked for.

    Attributes:
        rounds: Of timing.
        learn: Samples that the table's reconstruction fits to.
        train: Samples that the curve and the zeros learn from.
        samples: Of the task, to judge by.
        minutes: Of training, each time.
        keeps: Shares of the time that the curve asks for.
        threads: For all but timing.
        folder: Where models go.
    """

    rounds: int
    learn: int
    train: int
    samples: int
    minutes: float
    keeps: Sequence[float]
    threads: int
    folder: Path

    def case(self, name: str, learn: int) -> Case:
        """A model with so many samples to learn from."""
        return Case.of(name, (learn, self.samples), self.folder, self.threads)

    @property
    def how(self) -> str:
        """Of training, in words."""
        return f"{self.minutes:g} minutes of training each time" if self.minutes else "no training"


def thirty_percent(plan: Plan, name: str) -> tuple[list[Row], Any]:
    """70 % of the channels, healed and not: errors, the metric, speed over the exact model."""
    case = plan.case(name, plan.learn)
    exact = case.finished(case.exact.model, "exact")
    bare = [case.changed(cut, f"cut{at}") for at, cut in enumerate(_CUTS.values())]
    healed = [
        case.changed(f"{cut} | {_HEAL}", f"healed{at}") for at, cut in enumerate(_CUTS.values())
    ]
    timing = case.timed([exact, *healed], plan.rounds)
    ratios = {ratio.candidate: ratio for ratio in timing.ratios}
    rows, raw = list[Row](), dict[str, Any]()
    for of, first, path in zip(_CUTS, bare, healed, strict=True):
        before, after, ratio = case.judged(first), case.judged(path), ratios[path.name]
        cut, left = _error(before), _error(after)
        rows.append(
            {
                "model": name,
                "70 % of": f"{of} channels",
                "relative L2, cut": f"{cut:.3f}",
                "reconstructed": f"{left:.3f}",
                "of it left": f"{left / max(cut, 1e-12):.2f}",
                **_metric(after),
                "MB": f"{exact.stat().st_size / 1e6:.2f} → {path.stat().st_size / 1e6:.2f}",
                **_time(ratio),
            }
        )
        raw[of] = {"cut": before.to_json(), "healed": after.to_json()}
    return rows, {"comparisons": raw, "benchmark": asdict(timing)}


def curve(plan: Plan, name: str) -> tuple[list[Row], Any]:
    """Points of speed and metric, one a share of the foreseen time."""
    case = plan.case(name, plan.train)
    exact = case.finished(case.exact.model, "exact")
    train = _training(plan)
    paths = [
        case.changed(
            f"prune-channels{{keep={keep}, scope=latency, multiple=16}} | {_HEAL}{train}", str(keep)
        )
        for keep in plan.keeps
    ]
    timing = case.timed([exact, *paths], plan.rounds)
    ratios = {ratio.candidate: ratio for ratio in timing.ratios}
    rows, raw = list[Row](), dict[str, Any]()
    for keep, path in zip(plan.keeps, paths, strict=True):
        found, ratio = case.judged(path), ratios[path.name]
        rows.append({"model": name, "share of time asked": keep, **_time(ratio), **_metric(found)})
        raw[str(keep)] = found.to_json()
    return rows, {"comparisons": raw, "benchmark": asdict(timing)}


def zeros(plan: Plan, name: str) -> tuple[list[Row], Any]:
    """Half of the weights zero, in one layer or another, recovered and not."""
    case = plan.case(name, plan.train)
    exact = case.finished(case.exact.model, "exact")
    rows, raw = [_zero_row(case, "exact", "none", exact)], dict[str, Any]()
    train = _training(plan)
    for what, spelled in _ZERO.items():
        steps = spelled % train if "%s" in spelled else spelled
        recipes = {"none": steps} if "%s" not in spelled else {}
        if train:
            recipes[f"{plan.minutes:g} min"] = steps + train
        for recovery, recipe in recipes.items():
            path = case.changed(recipe, f"zeros{len(rows)}")
            rows.append(_zero_row(case, what, recovery, path))
            raw[recipe] = rows[-1]
    return rows, raw


def _zero_row(case: Case, what: str, recovery: str, path: Path) -> Row:
    found, model = case.judged(path), store.load(path)
    layers = sparsity(model)
    share = sum(one.zeros for one in layers) / max(sum(math.prod(one.shape) for one in layers), 1)
    return {
        "model": case.name,
        "zeros": what,
        "recovery": recovery,
        "share of zeros": f"{share:.3f}",
        "relative L2": f"{_error(found):.3f}",
        **_metric(found),
        "MB under zlib": f"{store.file_size(model).zlib_bytes / 1e6:.2f}",
    }


def _training(plan: Plan) -> str:
    return f" | distill{{minutes={plan.minutes:g}, patience=0}}" if plan.minutes else ""


def _error(found: Comparison) -> float:
    if found.fidelity is None:
        raise ValueError("the outputs cannot be compared")
    return found.fidelity.mean


def _metric(found: Comparison) -> Row:
    if found.metric is None:
        raise ValueError("the task has no metric")
    change = found.metric.change
    return {
        "metric": f"{found.metric.before:.4f} → {found.metric.after:.4f}",
        "change, 95 %": f"{change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]",
        "n": found.samples,
    }


def _time(ratio: Ratio) -> Row:
    return {
        "time, measured": f"{1 / ratio.speedup:.2f}",
        "95 % of it": f"{1 / ratio.high:.2f} to {1 / ratio.low:.2f}",
    }


def draw(rows: Sequence[Row], path: Path) -> None:
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


def run_part(
    names: Sequence[str],
    work: Callable[[Plan, str], tuple[list[Row], Any]],
    plan: Plan,
    file: str,
    title: str,
) -> tuple[list[Row], bool]:
    """All models of a part; what is finished is written after each.

    Where all fail, what an earlier run has written stays.

    Returns:
        The rows, and whether a model failed.
    """
    rows, raw, failures = list[Row](), dict[str, Any](), dict[str, str]()
    for name, (more, details) in surviving(names, lambda one: work(plan, one), failures):
        rows += more
        raw[name] = details
        document.write(file, title, rows, {"failures": failures, **raw})
    if failures and rows:
        document.write(file, title, rows, {"failures": failures, **raw})
    return rows, bool(failures)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=MODELS, metavar="ID", help="of the table")
    parser.add_argument("--curves", nargs="*", default=CURVES, metavar="ID", help="of the curve")
    parser.add_argument("--zeros", nargs="*", default=ZEROS, metavar="ID", help="of the zeros")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--learn", type=int, default=64, help="samples for the first table")
    parser.add_argument("--train", type=int, default=512, help="samples for curve and zeros")
    parser.add_argument("--samples", type=int, default=500, help="of the task, to judge by")
    parser.add_argument("--minutes", type=float, default=0.0, help="of training, each time")
    parser.add_argument("--keeps", nargs="*", type=float, default=KEEPS, help="of the curve")
    parser.add_argument("--threads", type=int, default=2, help="for all but timing")
    return parser.parse_args()


def main() -> None:
    """The tables and the picture."""
    asked = options()
    if asked.minutes and importlib.util.find_spec("torch") is None:
        raise SystemExit("--minutes needs PyTorch: pip install 'onnxopt[torch]'")
    if asked.curves and importlib.util.find_spec("plotly") is None:
        raise SystemExit("the curve is drawn with plotly: pip install 'plotly>=6'")
    with tempfile.TemporaryDirectory() as place:
        plan = Plan(
            asked.rounds,
            asked.learn,
            asked.train,
            asked.samples,
            asked.minutes,
            asked.keeps,
            asked.threads,
            Path(place),
        )
        title = "70 % of the channels left, on top of the exact recipe, no training"
        _, first = run_part(asked.models, thirty_percent, plan, "pruning", title)
        title = f"Shares of the time left, on top of the exact recipe, reconstructed; {plan.how}"
        rows, second = run_part(asked.curves, curve, plan, "pruning_curve", title)
        title = f"Half of the weights zero; {plan.how}"
        _, third = run_part(asked.zeros, zeros, plan, "pruning_zeros", title)
    if rows:
        draw(rows, document.RESULTS / "pruning_curve.html")
    if first or second or third:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
