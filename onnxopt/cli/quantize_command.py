"""``onnxopt quantize``: int8 inside a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxopt.cli.options import (
    accept_undecided_option,
    bake_dim_option,
    check_output,
    keep_default_inputs_option,
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
    from onnxopt.api import QuantizeResult
    from onnxopt.data import DataOptions


@click.command("quantize")
@click.argument("model", type=click.Path(path_type=Path))
@output_option
@click.option("--data", required=True, help="Samples to calibrate with and to compare on.")
@test_data_option
@click.option(
    "--method",
    type=click.Choice(["auto", "minmax", "average", "percentile", "entropy", "mse"]),
    help="How ranges are read from the statistics; by default the best of them for each tensor.",
)
@click.option("--recipe", help="Quantizing steps; by default those of the target.")
@target_option
@bake_dim_option
@set_option
@keep_inputs_option
@keep_default_inputs_option
@metric_option
@max_drop_option
@max_error_option
@accept_undecided_option
@click.option(
    "--int8-anyway", is_flag=True, help="Write int8 even where it misses the budget or is slower."
)
@click.option(
    "--measure/--no-measure", default=True, help="Time float and int8, keep the faster (default)."
)
@no_verify_option
@with_settings(*WRITES)
@with_reading
def command(
    settings: Settings,
    model: Path,
    output: Path,
    data: str,
    test_data: str | None,
    method: str | None,
    recipe: str | None,
    target: str,
    dims: tuple[str, ...],
    inputs: tuple[str, ...],
    keep_inputs: bool,
    keep_default_inputs: bool,
    metric: str | None,
    max_drop: str | None,
    max_error: float | None,
    accept_undecided: bool,
    int8_anyway: bool,
    measure: bool,
    no_verify: bool,
    reading: DataOptions,
) -> None:
    """Quantize MODEL to int8 as far as the budget allows, and write the best that does.

    Nodes whose integers cost most accuracy stay in float. The result is compared with MODEL on
    held-out samples and timed beside the exact float model, which is what is written where int8
    misses the budget or is not faster. --force only replaces an existing file.
    """
    from onnxopt import api
    from onnxopt.cli.watch import watching

    if method and recipe:
        raise UsageError("--method next to --recipe", "one or the other")
    destination = check_output(settings, output)
    built_in, sizes = specialization(dims, inputs, keep_inputs)
    budget = api.Budget(metric, parse_drop(max_drop), max_error, accept_undecided, int8_anyway)
    with watching(settings, f"quantizing {model}") as watch:
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
        steps = recipe or (api.default_quantize(method, options) if method else None)
        result = api.quantize(
            model,
            destination,
            data=api.held_out(model, data, test_data, options),
            recipe=steps,
            budget=budget,
            options=options,
            observer=watch,
        )
    _print(settings, result)
    settings.emit(result.to_json())
    require_fit(budget, output, result, "leave out --int8-anyway")


def _print(settings: Settings, result: QuantizeResult) -> None:
    from onnxopt.cli.render import describe_comparison, describe_ratio, describe_saved

    for line in describe_comparison(result.comparison):
        settings.say(line)
    for warning in result.warnings:
        settings.say(f"warning: {warning}")
    settings.say(result.summary)
    settings.say(f"verdict: {result.verdict} ({result.why})")
    verified = str(result.equivalence) if result.equivalence else "not verified"
    settings.say(f"exact part: {verified}")
    for line in _precision_lines(result):
        settings.say(line)
    timing = result.benchmark
    settings.say(describe_ratio(timing.ratios[0]) if timing else "not timed")
    settings.say(describe_saved(result.saved))


def _precision_lines(result: QuantizeResult) -> list[str]:
    """What a provider has to be told beside the model; nothing for fp32 on the CPU."""
    lines = []
    found = result.float_comparison
    if found is not None and found.fidelity is not None:
        lines.append(
            f"the exact float model as the target runs it: error {found.fidelity.mean:.3g}"
        )
    target, precision = result.target, result.target.session.precision
    if (target.provider, precision) != ("cpu", "fp32"):
        how = "" if result.verdict == "float16" else f" in {precision}"
        layout = target.session.layouts[0]
        how += "" if layout == "nchw" else f", layout {layout}"
        lines.append(f"made for {target.name}: run it with provider {target.provider}{how}")
    return lines
