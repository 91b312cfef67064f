"""``onnxopt verify``: check a bundle."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from onnxopt.cli.settings import Settings, with_settings


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@with_settings()
def command(settings: Settings, bundle: Path) -> None:
    """Re-hash every file of BUNDLE and re-run its golden samples on this machine."""
    from onnxopt import api

    report = api.verify(bundle)
    text = f"{bundle}: {report.files} files and {report.samples} golden samples are right"
    settings.say(text)
    for name in report.unlisted:
        settings.warn(f"{name} is not in the manifest")
    settings.emit(asdict(report))
