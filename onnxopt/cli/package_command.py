"""``onnxopt package``: a model into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxopt.cli.options import dim_option, output_option, run_options, target_option
from onnxopt.cli.reading import with_reading
from onnxopt.cli.settings import RUNS, Settings, with_settings

if TYPE_CHECKING:
    from onnxopt.data import DataOptions


@click.command("package")
@click.argument("model", type=click.Path(path_type=Path))
@output_option
@click.option("--data", help="Where the golden samples come from; made up by default.")
@target_option
@dim_option
@with_settings(*RUNS, "force")
@with_reading
def command(
    settings: Settings,
    model: Path,
    output: Path,
    data: str | None,
    target: str,
    dims: tuple[str, ...],
    reading: DataOptions,
) -> None:
    """Put MODEL as it is into a bundle: hashes, golden samples, a stand-alone runner."""
    from onnxopt import api
    from onnxopt.cli.render import size
    from onnxopt.cli.watch import watching

    with watching(settings, f"packaging {model}") as watch:
        options = run_options(settings, watch.progress, target, dims, reading=reading)
        manifest = api.package(model, output, data=data, options=options, force=settings.force)
    total = sum(entry.size_bytes for entry in manifest.files)
    text = f"{output}: {len(manifest.files)} files, {size(total)}, {manifest.samples} samples"
    settings.say(text)
    settings.emit(manifest.model_dump(mode="json"))
