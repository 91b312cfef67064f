"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxopt.errors import UsageError

if TYPE_CHECKING:
    from onnxopt.api.options import RunOptions
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
    help="Size of a dynamic axis of made-up inputs.",
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
        dims=parse_dims(dims),
        allow_foreign=True,
        progress=progress,
        **more,
    )


def parse_dims(dims: Sequence[str]) -> dict[str, int]:
    """``N=1`` words as a mapping.

    Raises:
        UsageError: A word is not of that form.
    """
    sizes = {}
    for word in dims:
        name, equals, size = word.rpartition("=")
        if not equals or not name or not (size.isascii() and size.isdecimal()):
            raise UsageError(f"--dim {word!r}", "NAME=SIZE, such as batch=1 or input:0=1")
        sizes[name] = int(size)
    return sizes


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
    if path.exists() and not settings.force:
        raise UsageError(f"{path} exists", todo="replace it with --force")
    return path
