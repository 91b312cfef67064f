"""Options every command shares, parsed into one frozen value."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Settings:
    """How a command talks and what it may touch.

    Attributes:
        json: One JSON document on standard output instead of tables.
        verbosity: -1 quiet, 0 normal, 1 each note, 2 also tracebacks.
        seed: Of everything random.
        threads: Threads of the runtime.
        force: Overwrite outputs.
        dry_run: Do everything but write.
        cache: Cache folder; None caches nothing.
    """

    json: bool
    verbosity: int
    seed: int
    threads: int
    force: bool
    dry_run: bool
    cache: Path | None

    @property
    def console(self) -> Console:
        """Where people's text goes: standard output, or standard error next to ``--json``."""
        return _console(stderr=self.json, quiet=self.verbosity < 0)

    @property
    def errors(self) -> Console:
        """Where progress and warnings go."""
        return _console(stderr=True, quiet=self.verbosity < 0)

    def say(self, text: str) -> None:
        """Write a line for people, as it is."""
        self.console.print(text, markup=False, soft_wrap=True)

    def emit(self, document: Any) -> None:
        """Write the JSON document, where one was asked for."""
        if self.json:
            click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))

    def warn(self, text: str) -> None:
        """Say something loudly that is no error."""
        from rich.markup import escape

        self.errors.print(f"[bold yellow]warning[/]: {escape(text)}")


_FILE_WIDTH = 160


def _console(*, stderr: bool, quiet: bool) -> Console:
    """A console as wide as the terminal; wider where nobody reads it line by line."""
    from rich.console import Console

    console = Console(stderr=stderr, quiet=quiet, highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    return console


def default_cache() -> Path:
    """The user's cache folder of this program (the platform's usual place)."""
    from onnxopt_models.cache import default_cache_dir

    return default_cache_dir()


Option = Callable[[Callable[..., Any]], Callable[..., Any]]

_TALK: tuple[Option, ...] = (
    click.option("--json", "json_", is_flag=True, help="One JSON document on standard output."),
    click.option("-v", "--verbose", count=True, help="Say more; -vv adds tracebacks."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
)
_OTHERS: dict[str, Option] = {
    "seed": click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Seed of everything random.",
    ),
    "threads": click.option(
        "--threads",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Threads of the runtime.",
    ),
    "cache": click.option("--cache", type=click.Path(path_type=Path), help="Cache folder."),
    "no_cache": click.option("--no-cache", is_flag=True, help="Cache nothing."),
    "force": click.option("--force", is_flag=True, help="Overwrite outputs."),
    "dry_run": click.option("--dry-run", is_flag=True, help="Do everything but write."),
}
CACHES = ("cache", "no_cache")
RUNS = ("seed", "threads", *CACHES)
"""The shared options of commands that run models."""
WRITES = (*RUNS, "force", "dry_run")
"""The shared options of commands that write a model."""


def with_settings(*names: str) -> Option:
    """Give a command ``--json``, ``-v``, ``-q`` and the named shared options.

    The command gets them as its first argument; options it does not offer have their defaults.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(**values: Any) -> Any:
            return function(_settings(values), **values)

        decorated: Callable[..., Any] = wrapper
        for option in reversed([*_TALK, *(_OTHERS[name] for name in names)]):
            decorated = option(decorated)
        return decorated

    return decorate


def _settings(values: dict[str, Any]) -> Settings:
    """Take the shared options out of a command's values."""
    verbose, quiet = values.pop("verbose"), values.pop("quiet")
    cache, no_cache = values.pop("cache", None), values.pop("no_cache", False)
    return Settings(
        json=values.pop("json_"),
        verbosity=-1 if quiet else verbose,
        seed=values.pop("seed", 0),
        threads=values.pop("threads", 1),
        force=values.pop("force", False),
        dry_run=values.pop("dry_run", False),
        cache=None if no_cache else cache or default_cache(),
    )
