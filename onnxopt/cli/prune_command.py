"""``onnxopt prune``: fewer weights inside a budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxopt.cli.options import (
    accept_undecided_option,
    bake_dim_option,
    check_output,
    keep_inputs_option,
    max_drop_option,
    max_error_option,
    metric_option,
    no_verify_option,
    output_option,
    parse_drop,
    require_fit,
    run_options,
    set_option,
    specialization,
    target_option,
    test_data_option,
)
from onnxopt.cli.reading import with_reading
from onnxopt.cli.settings import WRITES, Settings, with_settings
from onnxopt.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from onnxopt.api import PruneResult
    from onnxopt.api.prune_steps import PruneKind
    from onnxopt.api.pruning import Footprint
    from onnxopt.data import DataOptions


@click.command("prune")
@click.argument("model", type=click.Path(path_type=Path))
@output_option
@click.option(
    "--kind",
    type=click.Choice(["channels", "magnitude", "nm"]),
    help="channels (default) are taken out, which saves time and size; magnitude and nm (N:M) "
    "make zeros, which saves size under compression.",
)
@click.option(
    "--keep",
    type=float,
    help="Share that stays; by default the least that a stated budget allows (bisected), without "
    "one 0.7 of the channels or half of the weights.",
)
@click.option("--recipe", help="Pruning steps, recovery included, instead of --kind and --keep.")
@click.option("--data", help="Samples to fit to and to compare on.")
@test_data_option
@target_option
@bake_dim_option
@set_option
@keep_inputs_option
@metric_option
@max_drop_option
@max_error_option
@accept_undecided_option
@click.option("--measure", is_flag=True, help="Time the exact and the pruned model.")
@no_verify_option
@with_settings(*WRITES)
@with_reading
def command(
    settings: Settings,
    model: Path,
    output: Path,
    kind: PruneKind | None,
    keep: float | None,
    recipe: str | None,
    data: str | None,
    test_data: str | None,
    target: str,
    dims: tuple[str, ...],
    inputs: tuple[str, ...],
    keep_inputs: bool,
    metric: str | None,
    max_drop: str | None,
    max_error: float | None,
    accept_undecided: bool,
    measure: bool,
    no_verify: bool,
    reading: DataOptions,
) -> None:
    """Prune MODEL and write the result, with what that costs on held-out samples.

    With a budget (--max-drop, --max-error) and neither --keep nor --recipe, the share is searched
    for: what is written is inside the budget, or is the exact model, unpruned (kept-whole). Where a
    share or recipe that was asked for misses a stated budget, the pruned model is written all the
    same, and the exit code is 5. --force only replaces an existing file.
    """
    from onnxopt import api
    from onnxopt.cli.watch import watching

    if recipe and (kind or keep is not None):
        raise UsageError("--recipe next to --kind or --keep", "one or the other")
    if test_data and not data:
        raise UsageError("--test-data without --data", "samples to fit with, too")
    destination = check_output(settings, output)
    built_in, sizes = specialization(dims, inputs, keep_inputs)
    budget = api.Budget(metric, parse_drop(max_drop), max_error, accept_undecided)
    has_data, pruned = data is not None, kind or "channels"
    steps = recipe or api.default_prune(pruned, keep, has_data=has_data)
    searches = budget.is_stated and has_data and not recipe and keep is None
    with watching(settings, f"pruning {model}") as watch:
        options = run_options(
            settings,
            watch.progress,
            target,
            sizes=sizes,
            specialize=built_in,
            verify=not no_verify,
            measure=measure,
            reading=reading,
        )
        result = api.prune(
            model,
            destination,
            data=None if data is None else api.held_out(model, data, test_data, options),
            recipe=api.PruneSearch(pruned) if searches else steps,
            budget=budget,
            options=options,
            observer=watch,
        )
    _print(settings, result)
    settings.emit(result.to_json())
    require_fit(budget, output, result, "keep more, or recover: --recipe 'prune-… | distill'")


def _print(settings: Settings, result: PruneResult) -> None:
    from onnxopt.cli.render import describe_comparison, describe_ratio, describe_saved

    settings.console.print(_table(result))
    settings.say(result.summary)
    for line in describe_comparison(result.comparison) if result.comparison else []:
        settings.say(line)
    verdict = "inside the budget" if result.fits else "misses the budget"
    verdict = "kept-whole" if result.verdict == "kept-whole" else verdict
    settings.say(f"verdict: {verdict} ({result.why})" if result.comparison else result.why)
    if result.probes and result.verdict == "pruned":
        settings.say(f"again without searching: --recipe '{result.pruned.recipe}'")
    verified = str(result.equivalence) if result.equivalence else "not verified"
    settings.say(f"exact part: {verified}")
    timing = result.benchmark
    settings.say(describe_ratio(timing.ratios[0]) if timing else "not timed")
    settings.say(describe_saved(result.saved))


def _table(result: PruneResult) -> Table:
    """Both models, figure by figure."""
    from onnxopt.cli.render import size, table

    before, after = result.footprints
    rows = [
        _row("parameters", before.parameters, after.parameters),
        ("of them zero", _share(before), _share(after), ""),
        _row("MACs a run", before.macs, after.macs),
        _row("file", before.size_bytes, after.size_bytes, size),
        _row("file, zlib", before.zlib_bytes, after.zlib_bytes, size),
    ]
    if result.uncounted:
        rows[2] = (f"{rows[2][0]} (in part)", *rows[2][1:])
    timing = result.benchmark
    if timing is not None:
        exact, pruned = (measured.latency.p50 for measured in timing.measurements)
        rows.append(_row("p50 ms (before: exact)", exact, pruned, lambda ms: f"{ms:.3f}"))
    return table("", ("", ">before", ">after", ">change"), rows)


def _share(found: Footprint) -> str:
    share = found.zeros / found.parameters if found.parameters else 0.0
    return f"{found.zeros:,} ({share:.1%})"


def _row(
    name: str,
    before: float,
    after: float,
    form: Callable[[float], str] = lambda count: f"{count:,.0f}",
) -> tuple[str, str, str, str]:
    change = f"{100 * (after / before - 1):+.1f} %" if before else ""
    return name, form(before), form(after), change
