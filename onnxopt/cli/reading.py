"""Options about data, shared by every command that reads some."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from onnxopt.cli.settings import Option
from onnxopt.errors import UsageError

_OPTIONS: tuple[Option, ...] = (
    click.option("--labels", help="Name of the labels in the data; `labels` by default."),
    click.option("--items", help="Column or array that names each sample's source item."),
    click.option(
        "--batch-axis", "batch_axes", multiple=True, metavar="INPUT=AXIS", help="Axis to cut along."
    ),
    click.option(
        "--state",
        multiple=True,
        metavar="INPUT=OUTPUT",
        help="What each step leaves for the next; samples are steps then, an item is a sequence.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="At most this many samples."),
    click.option("--shuffle", is_flag=True, help="Read in an order drawn by the seed."),
    click.option(
        "--range", "ranges", multiple=True, metavar="INPUT=LOW:HIGH", help="For random integers."
    ),
    click.option("--preprocess", help="For images: imagenet, imagenet-pm1, yolo or a TOML file."),
    click.option("--tokenizer", type=click.Path(path_type=Path), help="For text: tokenizer.json."),
    click.option("--max-length", type=click.IntRange(min=1), help="For text: most tokens."),
)
_NAMES = (
    "labels", "items", "batch_axes", "state", "limit", "shuffle",
    "ranges", "preprocess", "tokenizer", "max_length",
)  # fmt: skip


def with_reading(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options about data; it gets them as ``reading``."""

    @functools.wraps(function)
    def wrapper(*arguments: Any, **values: Any) -> Any:
        from onnxopt.data import DataOptions

        taken = {name: values.pop(name) for name in _NAMES}
        taken["labels"] = taken["labels"] or DataOptions.labels
        taken["batch_axes"] = {
            k: _integer(v) for k, v in _pairs("--batch-axis", taken["batch_axes"])
        }
        taken["state"] = _state(taken["state"])
        taken["ranges"] = {k: _bounds(v) for k, v in _pairs("--range", taken["ranges"])}
        return function(*arguments, **values, reading=DataOptions(**taken))

    decorated: Callable[..., Any] = wrapper
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _pairs(option: str, words: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [word.rpartition("=") for word in words]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise UsageError(f"{option} {name or value!r}", "INPUT=VALUE")
    return [(name, value) for name, _, value in pairs]


def _state(words: Sequence[str]) -> dict[str, str]:
    pairs = _pairs("--state", words)
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--state: {twice!r} is given twice", "one output for each input")
    return dict(pairs)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no whole number") from error


def _bounds(text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    return _integer(low), _integer(high)
