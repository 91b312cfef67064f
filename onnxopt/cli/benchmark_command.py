"""``onnxopt benchmark``: models timed side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxopt.cli.options import dim_option, run_options
from onnxopt.cli.settings import Settings, with_settings

if TYPE_CHECKING:
    from onnxopt.timing import BenchmarkResult


@click.command("benchmark")
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--provider", default="cpu", show_default=True, help="Execution provider.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Arithmetic of the provider for fp32 models.",
)
@click.option("--data", help="Samples to run; made up by default.")
@click.option("--samples", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--rounds", type=click.IntRange(min=2), default=12, show_default=True)
@dim_option
@with_settings
def command(
    settings: Settings,
    models: tuple[Path, ...],
    provider: str,
    precision: str,
    data: str | None,
    samples: int,
    rounds: int,
    dims: tuple[str, ...],
) -> None:
    """Time MODELS, interleaved, each in a process of its own; ratios are over the first."""
    from onnxopt import api
    from onnxopt.cli.watch import watching
    from onnxopt.runtime import SessionConfig
    from onnxopt.timing import BenchmarkConfig

    session = SessionConfig(
        provider=provider,
        threads=settings.threads,
        precision=precision,  # type: ignore[arg-type]
    )
    config = BenchmarkConfig(session=session, rounds=rounds, seed=settings.seed)
    with watching(settings, f"timing {len(models)} model(s)") as watch:
        options = run_options(settings, watch.progress, dims=dims)
        found = api.benchmark(models, data=data, config=config, samples=samples, options=options)
    _print(settings, found)
    settings.emit(asdict(found))


def _print(settings: Settings, found: BenchmarkResult) -> None:
    from onnxopt.cli.render import benchmark_table

    console = settings.console
    console.print(benchmark_table(found))
    first = found.measurements[0]
    machine = found.environment
    settings.say(f"{first.provider}, {first.threads} thread(s), {first.precision}; {machine.cpu}")
    for one in found.measurements:
        for note in one.notes:
            settings.warn(f"{one.name}: {note}")
        if not one.steady:
            settings.warn(f"{one.name} had not settled after {one.warmup_runs} warm-up runs")
