"""What the commands that train have in common: their options, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxopt.cli.options import (
    accept_undecided_option,
    check_output,
    max_drop_option,
    max_error_option,
    metric_option,
    output_option,
    parse_drop,
    require_fit,
    run_options,
)
from onnxopt.cli.reading import with_reading
from onnxopt.cli.settings import WRITES, Settings, with_settings

if TYPE_CHECKING:
    from onnxopt.api import RecoverResult
    from onnxopt.data import DataOptions

Command = Callable[..., Any]
_PLAIN = (
    "minutes", "steps", "rate", "batch", "micro", "decay", "patience", "temperature",
    "hint_weight", "augment",
)  # fmt: skip

_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.argument("student", type=click.Path(path_type=Path)),
    click.option("--teacher", required=True, type=click.Path(path_type=Path), help="The original."),
    output_option,
    click.option("--data", required=True, help="Samples to learn from; labels are not needed."),
    click.option("--test-data", help="Other samples to judge by; all of --data is learned from."),
    click.option("--minutes", type=float, help="Most time to train; 5 without --steps."),
    click.option("--steps", type=int, help="Updates of the weights."),
    click.option("--rate", type=float, help="Highest learning rate; by default by the error."),
    click.option("--batch", type=int, help="Samples an update; 16 by default."),
    click.option("--micro", type=int, help="Most samples that run at once; a batch by default."),
    click.option("--decay", type=float, help="Weight decay of matrices; 0.01 by default."),
    click.option(
        "--patience",
        type=int,
        help="Looks (of 20) without a better one before it ends; 10 by default, 0 for never.",
    ),
    click.option("--temperature", type=float, help="Of soft targets; 2 by default."),
    click.option("--hints", help="Inner tensors to match: auto, none, or names with commas."),
    click.option("--hint-weight", type=float, help="Of hints in the beginning; 1 by default."),
    click.option("--label-weight", type=float, help="Weight of labels; 0 by default."),
    click.option(
        "--augment",
        type=click.Choice(["none", "noise", "mixup"]),
        help="Vary inputs, where samples are few.",
    ),
    click.option("--train-scales", is_flag=True, help="Learn the scales of quantized tensors too."),
    click.option("--free-zeros", is_flag=True, help="Let weights that are 0 change."),
    metric_option,
    max_drop_option,
    max_error_option,
    accept_undecided_option,
    with_settings(*WRITES),
    with_reading,
)


def training_command(name: str, text: str) -> Callable[[Command], click.Command]:
    """Make a command that trains of a function that calls one verb."""

    def decorate(verb: Command) -> click.Command:
        def run(settings: Settings, reading: DataOptions, **values: Any) -> None:
            _run(verb, name, settings, reading, values)

        decorated: Command = run
        for option in reversed(_OPTIONS):
            decorated = option(decorated)
        return click.command(name, help=text)(decorated)

    return decorate


def _run(
    verb: Command, name: str, settings: Settings, reading: DataOptions, values: dict[str, Any]
) -> None:
    from onnxopt import api
    from onnxopt.cli.watch import watching

    output, student, teacher = values["output"], values["student"], values["teacher"]
    destination = check_output(settings, output)
    drop, undecided = parse_drop(values["max_drop"]), values["accept_undecided"]
    budget = api.Budget(values["metric"], drop, values["max_error"], undecided)
    with watching(settings, f"{name}: {student} learns from {teacher}") as watch:
        options = run_options(settings, watch.progress, reading=reading)
        result = verb(
            student,
            teacher,
            destination,
            data=api.held_out(teacher, values["data"], values["test_data"], options),
            training=_training(values),
            budget=budget,
            options=options,
            observer=watch,
        )
    _print(settings, result)
    settings.emit(result.to_json())
    require_fit(budget, output, result)


def _training(values: dict[str, Any]) -> dict[str, Any]:
    """Options of the pass, those that were given."""
    given = {name: values[name] for name in _PLAIN if values[name] is not None}
    if values["label_weight"] is not None:
        given["labels"] = values["label_weight"]
    hints = values["hints"]
    if hints is not None:
        given["hints"] = hints if hints in ("auto", "none") else hints.split(",")
    if values["train_scales"]:
        given["train_scales"] = True
    if values["free_zeros"]:
        given["keep_zeros"] = False
    return given


def _print(settings: Settings, result: RecoverResult) -> None:
    from onnxopt.cli.render import describe_comparison, describe_saved

    for when, found in (("before", result.before), ("after", result.after)):
        for line in describe_comparison(found):
            settings.say(f"{when}: {line}")
    for remark in result.remarks:
        settings.warn(remark)
    settings.say(f"verdict: {result.verdict} ({result.summary})")
    settings.say(f"again: {result.recipe}")
    settings.say(describe_saved(result.saved))
