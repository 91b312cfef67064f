"""``onnxopt compare``: two models on data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxopt.cli.options import (
    dim_option,
    max_drop_option,
    max_error_option,
    metric_option,
    parse_drop,
    run_options,
)
from onnxopt.cli.reading import with_reading
from onnxopt.cli.settings import RUNS, Settings, with_settings
from onnxopt.errors import BudgetError

if TYPE_CHECKING:
    from onnxopt.comparing import Comparison
    from onnxopt.data import DataOptions


@click.command("compare")
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("candidate", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="Samples; `random` makes some up.")
@metric_option
@max_drop_option
@max_error_option
@dim_option
@with_settings(*RUNS)
@with_reading
def command(
    settings: Settings,
    reference: Path,
    candidate: Path,
    data: str,
    metric: str | None,
    max_drop: str | None,
    max_error: float | None,
    dims: tuple[str, ...],
    reading: DataOptions,
) -> None:
    """Run REFERENCE and CANDIDATE on every sample and say how they differ."""
    from onnxopt import api
    from onnxopt.cli.watch import watching

    stated = max_drop is not None or max_error is not None
    budget = api.Budget(metric, parse_drop(max_drop), max_error)
    with watching(settings, f"comparing {candidate} with {reference}") as watch:
        options = run_options(settings, watch.progress, dims=dims, reading=reading)
        found = api.compare(
            reference,
            candidate,
            data=data,
            metric=metric,
            budget=budget if stated else None,
            options=options,
        )
    _print(settings, found)
    settings.emit(found.to_json())
    if stated:
        fits, why = api.allows(found, budget)
        if not fits:
            raise BudgetError(f"{candidate} misses the budget: {why}")


def _print(settings: Settings, found: Comparison) -> None:
    from onnxopt.cli.render import describe_comparison, outputs_table

    settings.console.print(outputs_table(found))
    for line in describe_comparison(found):
        settings.say(line)
