"""``onnxopt demo``: the whole job on the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxopt.cli.settings import RUNS, Settings, with_settings

if TYPE_CHECKING:
    from onnxopt.api import Delivery

MAX_DROP = 0.015
"""The demo's budget, absolute: with the few hundred test images there are, an interval cannot be
narrower than about one point."""


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("onnxopt-demo"),
    show_default=True,
    help="The bundle's folder.",
)
@with_settings(*RUNS, "force")
def command(settings: Settings, output: Path) -> None:
    """Optimize, quantize, compare, benchmark and bundle the embedded digits model."""
    from onnxopt import api
    from onnxopt.cli.options import run_options
    from onnxopt.cli.watch import watching
    from onnxopt_models import digits

    with watching(settings, "optimize, quantize, compare and time the digits model") as watch:
        options = run_options(settings, watch.progress)
        delivery = api.deliver(
            digits.MODEL,
            output,
            data=api.held_out(digits.MODEL, str(digits.CALIBRATION), str(digits.TEST), options),
            budget=api.Budget("top1", MAX_DROP),
            options=options,
            observer=watch,
            force=settings.force,
        )
    _print(settings, delivery)
    settings.emit(delivery.to_json())


def _print(settings: Settings, delivery: Delivery) -> None:
    from onnxopt.cli.render import delivery_table, describe_shipped

    console = settings.console
    console.print(delivery_table(delivery))
    for line in describe_shipped(delivery):
        settings.say(line)
