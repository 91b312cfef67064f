"""``onnxopt optimize``: exact rewriting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxopt.cli.options import (
    bake_dim_option,
    check_output,
    keep_default_inputs_option,
    keep_inputs_option,
    no_verify_option,
    output_option,
    run_options,
    set_option,
    specialization,
    target_option,
)
from onnxopt.cli.reading import with_reading
from onnxopt.cli.settings import WRITES, Settings, with_settings

if TYPE_CHECKING:
    from onnxopt.api import OptimizeResult
    from onnxopt.data import DataOptions


@click.command("optimize")
@click.argument("model", type=click.Path(path_type=Path))
@output_option
@click.option("--recipe", help="What to do; the target's exact recipe by default.")
@target_option
@click.option("--data", help="Samples to verify with (and for passes that need data).")
@bake_dim_option
@set_option
@keep_inputs_option
@keep_default_inputs_option
@click.option("--measure", is_flag=True, help="Time original and result, keep the faster.")
@click.option("--explain", is_flag=True, help="Say what each pass did and refused, and why.")
@no_verify_option
@with_settings(*WRITES)
@with_reading
def command(
    settings: Settings,
    model: Path,
    output: Path,
    recipe: str | None,
    target: str,
    data: str | None,
    dims: tuple[str, ...],
    inputs: tuple[str, ...],
    keep_inputs: bool,
    keep_default_inputs: bool,
    measure: bool,
    explain: bool,
    no_verify: bool,
    reading: DataOptions,
) -> None:
    """Rewrite MODEL by a recipe, verify that it computes the same, and write it."""
    from onnxopt import api
    from onnxopt.cli.explanation import describe_accounts
    from onnxopt.cli.watch import watching

    destination = check_output(settings, output)
    built_in, sizes = specialization(dims, inputs, keep_inputs)
    with watching(settings, f"optimizing {model}") as watch:
        options = run_options(
            settings,
            watch.progress,
            target,
            sizes=sizes,
            specialize=built_in,
            keep_default_inputs=keep_default_inputs,
            verify=not no_verify,
            measure=measure,
            reading=reading,
        )
        result = api.optimize(
            model, destination, recipe=recipe, data=data, options=options, observer=watch
        )
    accounts = api.explain_steps(result.steps) if explain else []
    for line in describe_accounts(accounts, settings.console.width):
        settings.say(line)
    _print(settings, result)
    if settings.json:  # tens of thousands of notes are work
        told = {"accounts": [account.to_json() for account in accounts]} if explain else {}
        settings.emit(result.to_json() | told)


def _print(settings: Settings, result: OptimizeResult) -> None:
    from onnxopt.cli.render import describe_ratio, describe_saved

    if result.steps:
        before, after = result.steps[0].before, result.steps[-1].after
        settings.say(f"{result.verdict}: {before.nodes} → {after.nodes} nodes")
    verified = str(result.equivalence) if result.equivalence else "not verified"
    settings.say(f"verified: {verified}" if result.equivalence else verified)
    timing = result.benchmark
    settings.say(describe_ratio(timing.ratios[0]) if timing else "not timed")
    settings.say(describe_saved(result.saved))
