"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from onnxopt.errors import BudgetError, UsageError

if TYPE_CHECKING:
    from onnxopt.api.options import Budget, RunOptions
    from onnxopt.api.specializing import Specialization
    from onnxopt.cli.settings import Settings
    from onnxopt.progress import Progress

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

output_option: Decorator = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Where to write."
)
target_option: Decorator = click.option(
    "--target", default="auto", show_default=True, help="A target's name or TOML file."
)
dim_option: Decorator = click.option(
    "--dim",
    "dims",
    multiple=True,
    metavar="N=SIZE",
    help="Size of a dynamic axis of made-up inputs; N=1,8 tries both.",
)
bake_dim_option: Decorator = click.option(
    "--dim",
    "dims",
    multiple=True,
    metavar="N=SIZE",
    help="Build the size of a dynamic axis in; N=1,8 builds nothing in and tries both.",
)
set_option: Decorator = click.option(
    "--set",
    "inputs",
    multiple=True,
    metavar="INPUT=VALUE",
    help="Build the value of an input in: sr=16000.",
)
keep_inputs_option: Decorator = click.option(
    "--keep-inputs", is_flag=True, help="Let callers still feed the inputs of --set."
)
keep_default_inputs_option: Decorator = click.option(
    "--keep-default-inputs",
    is_flag=True,
    help="Let callers still feed inputs that have a default; those are neither folded nor fused.",
)
test_data_option: Decorator = click.option(
    "--test-data", help="Other samples to compare on; --data then only calibrates."
)
metric_option: Decorator = click.option(
    "--metric", help="Task metric: top1, topk{k=5}, cer{…}, module:function."
)
max_drop_option: Decorator = click.option(
    "--max-drop", help="Most the metric may lose: 1% or 0.01 (absolute)."
)
max_error_option: Decorator = click.option(
    "--max-error", type=float, help="Most the mean relative L2 error may be."
)
accept_undecided_option: Decorator = click.option(
    "--accept-undecided", is_flag=True, help="A mean inside the budget will do."
)
no_verify_option: Decorator = click.option(
    "--no-verify", is_flag=True, help="Do not run original and result first."
)


def run_options(
    settings: Settings,
    progress: Progress,
    target: str = "auto",
    dims: Sequence[str] = (),
    **more: Any,
) -> RunOptions:
    """The library's options out of the command line's."""
    from onnxopt.api.options import RunOptions

    return RunOptions(
        target=target,
        threads=settings.threads,
        seed=settings.seed,
        cache=settings.cache,
        dims={**parse_dims(dims), **more.pop("sizes", {})},
        allow_foreign=True,
        progress=progress,
        **more,
    )


def specialization(
    dims: Sequence[str], inputs: Sequence[str], keep_inputs: bool
) -> tuple[Specialization, dict[str, int | tuple[int, ...]]]:
    """What to build in: single sizes and input values; and the lists of sizes to try.

    Raises:
        UsageError: A word is not of its form, or ``--keep-inputs`` has no inputs to keep.
    """
    from onnxopt.api.specializing import Specialization

    if keep_inputs and not inputs:
        raise UsageError("--keep-inputs without --set", "the inputs that callers still feed")
    sizes = parse_dims(dims)
    built_in = {name: size for name, size in sizes.items() if isinstance(size, int)}
    tried = {name: size for name, size in sizes.items() if not isinstance(size, int)}
    return Specialization(built_in, _parse_inputs(inputs), keep_inputs), dict(tried)


def _parse_inputs(words: Sequence[str]) -> dict[str, Any]:
    from onnxopt import literal

    values = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (equals and name and text):
            raise UsageError(f"--set {word!r}", "INPUT=VALUE, such as sr=16000 or scale=[1, 2]")
        try:
            values[name] = literal.parse(text)
        except ValueError as error:
            raise UsageError(f"--set {word!r}: {error}", "a number, a text or a list") from error
    return values


def parse_dims(dims: Sequence[str]) -> dict[str, int | tuple[int, ...]]:
    """``N=1`` and ``N=1,8`` words as a mapping.

    Raises:
        UsageError: A word is not of that form.
    """
    sizes: dict[str, int | tuple[int, ...]] = {}
    for word in dims:
        name, equals, text = word.rpartition("=")
        given = text.split(",")
        if not equals or not name or not all(s.isascii() and s.isdecimal() for s in given):
            raise UsageError(
                f"--dim {word!r}", "NAME=SIZE, such as batch=1, W=160,320 or input:0=1"
            )
        sizes[name] = int(text) if len(given) == 1 else tuple(map(int, given))
    return sizes


class Judged(Protocol):
    """A result that is inside a budget or not."""

    @property
    def fits(self) -> bool:
        """Whether it is."""

    @property
    def why(self) -> str:
        """The reason in a sentence."""


def require_fit(budget: Budget, output: Path, result: Judged, todo: str = "") -> None:
    """Check that a budget that was stated is met by what was written.

    Raises:
        BudgetError: It is not.
    """
    if budget.is_stated and not result.fits:
        raise BudgetError(f"{output} misses the budget: {result.why}", todo=todo)


def parse_drop(text: str | None) -> float | None:
    """``1%``, ``0.01`` or None as a fraction.

    Raises:
        UsageError: It is no number.
    """
    if text is None:
        return None
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise UsageError(f"--max-drop {text!r}", "a number such as 1% or 0.01") from error


def check_output(settings: Settings, path: Path) -> Path | None:
    """The path to write to; None for a dry run.

    Raises:
        UsageError: Something is there already and ``--force`` was not given.
    """
    if settings.dry_run:
        return None
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "the name of a file to write")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", todo="make it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"folder {path.parent} is read-only", "one that can be written to")
    if path.exists() and not settings.force:
        raise UsageError(f"{path} exists", todo="replace it with --force")
    return path
