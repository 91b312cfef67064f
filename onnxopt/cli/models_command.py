"""``onnxopt models``: real models to work with."""

from __future__ import annotations

from typing import Any

import click

from onnxopt.cli.settings import CACHES, Settings, with_settings


@click.command("models")
@click.argument("name", required=False)
@with_settings(*CACHES)
def command(settings: Settings, name: str | None) -> None:
    """List the models of the zoo, or fetch the one called NAME and print its path."""
    if name is None:
        _list(settings)
    else:
        _fetch(settings, name)


def _list(settings: Settings) -> None:
    from onnxopt.cli.render import size, table
    from onnxopt_models.catalog import load_catalog

    catalog = load_catalog()
    rows: list[tuple[Any, ...]] = [
        (m.id, "embedded", m.licence, m.opset, m.task, m.summary) for m in catalog.embedded
    ]
    rows += [
        (m.id, size(m.files[0].size_bytes), m.licence, m.opset or m.format, m.task, m.summary)
        for m in catalog.model
    ]
    columns = ("model", ">size", "weights' licence", ">opset", "task", "what it is")
    settings.console.print(table("", columns, rows))
    settings.console.print("\n`onnxopt models NAME` fetches one and prints its path")
    settings.emit(catalog.model_dump(mode="json"))


def _fetch(settings: Settings, name: str) -> None:
    from onnxopt.cli.watch import watching
    from onnxopt_models.fetch import fetch_all

    with watching(settings, f"fetching {name}") as watch:
        paths = fetch_all(name, settings.cache, watch.progress)
    if settings.json:
        settings.emit([str(path) for path in paths])
    else:
        click.echo(str(paths[0]))
