"""``onnxopt models``: real models to work with."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxopt.cli.settings import RUNS, Settings, with_settings
from onnxopt.errors import UsageError

if TYPE_CHECKING:
    from onnxopt_models.catalog import Model
    from onnxopt_models.scores import MeasuredScore


@click.command("models")
@click.argument("words", nargs=-1, metavar="[NAME | eval NAME]")
@click.option("--model", type=click.Path(path_type=Path), help="With eval: the file to score.")
@click.option("--samples", type=click.IntRange(min=8), default=1000, show_default=True)
@click.option(
    "--split",
    type=click.Choice(["all", "calibration", "search", "test"]),
    default="test",
    show_default=True,
    help="With eval: which part of the task's source items.",
)
@with_settings(*RUNS)
def command(
    settings: Settings,
    words: tuple[str, ...],
    model: Path | None,
    samples: int,
    split: Any,
) -> None:
    """List the models of the zoo; fetch NAME and print its path; or score a file on NAME's task."""
    match words:
        case ():
            _list(settings)
        case ("eval", name):
            _evaluate(settings, name, model, samples, split)
        case (name,) if name != "eval":
            _fetch(settings, name)
        case _:
            raise UsageError(f"models {' '.join(words)}", "models, models NAME or models eval NAME")


def _list(settings: Settings) -> None:
    from onnxopt.cli.render import table
    from onnxopt_models.catalog import load_catalog
    from onnxopt_models.scores import load_scores

    catalog = load_catalog()
    scores = {score.task: score for score in load_scores()}
    rows: list[tuple[Any, ...]] = [
        (m.id, _size(m), m.licence, m.opset, m.task, _score(scores.get(m.task)), m.summary)
        for m in catalog.models
    ]
    columns = ("model", ">size", "weights' licence", ">opset", "task", "score", "what it is")
    settings.console.print(table("", columns, rows))
    settings.say("\n`onnxopt models NAME` fetches one, `onnxopt models eval NAME` scores it")
    document = catalog.model_dump(mode="json")
    document["score"] = [score.model_dump(mode="json") for score in scores.values()]
    settings.emit(document)


def _size(model: Model) -> str:
    from onnxopt.cli.render import size
    from onnxopt_models.catalog import BuiltModel, EmbeddedModel

    if isinstance(model, EmbeddedModel):
        return "embedded"
    return size(model.size_bytes if isinstance(model, BuiltModel) else model.files[0].size_bytes)


def _score(found: MeasuredScore | None) -> str:
    if found is None:
        return ""
    name = found.metric.rpartition(":")[2].partition("{")[0]
    return f"{name} {found.score:.3f} (n={found.samples})"


def _fetch(settings: Settings, name: str) -> None:
    from onnxopt.cli.watch import watching
    from onnxopt_models.fetch import fetch_all

    with watching(settings, f"fetching {name}") as watch:
        paths = fetch_all(name, settings.cache, watch.progress)
    if settings.json:
        settings.emit([str(path) for path in paths])
    else:
        click.echo(str(paths[0]))


def _evaluate(settings: Settings, name: str, model: Path | None, samples: int, split: Any) -> None:
    from onnxopt.cli.watch import watching
    from onnxopt.runtime import SessionConfig
    from onnxopt_models.scoring import SampleChoice, score

    with watching(settings, f"scoring {model or name} on the task {name}") as watch:
        found = score(
            name,
            model,
            choice=SampleChoice(samples, settings.seed, split),
            cache_dir=settings.cache,
            config=SessionConfig(threads=settings.threads, spinning=False),
            progress=watch.progress,
        )
    interval = found.score
    way = "higher" if found.higher_is_better else "lower"
    settings.say(
        f"{found.metric}: {interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}] "
        f"on {interval.samples} samples ({way} is better)"
    )
    settings.emit(asdict(found))
