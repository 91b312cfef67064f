"""``onnxopt run``: a job file."""

from __future__ import annotations

from pathlib import Path

import click

from onnxopt.cli.options import run_options
from onnxopt.cli.settings import CACHES, Settings, with_settings


@click.command("run")
@click.argument("job", type=click.Path(path_type=Path))
@with_settings(*CACHES)
def command(settings: Settings, job: Path) -> None:
    """Do what the TOML file JOB says: source, data, budget, target, recipe and outputs."""
    from onnxopt import api
    from onnxopt.cli.render import delivery_table, describe_saved
    from onnxopt.cli.watch import watching

    loaded = api.load_job(job)
    with watching(settings, f"running {job}") as watch:
        options = run_options(settings, watch.progress)
        result = api.run_job(loaded, options=options, observer=watch)
    console = settings.console
    if result.exported is not None:
        export = result.exported.export
        settings.say(f"exported {export.source} by {export.exporter}: {export.check}")
    if result.model is not None:
        settings.say(f"verdict: {result.model.verdict}")
        settings.say(describe_saved(result.model.saved))
    if result.bundle is not None:
        console.print(delivery_table(result.bundle))
        settings.say(f"bundle: {result.bundle.bundle} ({result.bundle.shipped.name})")
    settings.emit(result.to_json())
