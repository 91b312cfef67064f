"""Targets from their TOML files, by name, by path, or for this machine."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from onnxopt.errors import UsageError
from onnxopt.targets.target import Target

_ROWS = ("kernel", "float")


def load_target(name_or_path: str | Path) -> Target:
    """Read a target: a name from ``target_names``, the path of a TOML file, or ``auto``.

    Raises:
        UsageError: There is no such target, or its file says something unknown.
    """
    if name_or_path == "auto":
        from onnxopt.targets.detect import detect_name

        name_or_path = detect_name()
    source = _find(name_or_path, Path())
    data = _read_chain(source, ())
    try:
        return Target.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"target {name_or_path}: {where}: {first['msg'].lower()}") from error


def target_names() -> tuple[str, ...]:
    """The targets that come with onnxopt, sorted."""
    files = resources.files("onnxopt.targets").iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def _find(name_or_path: str | Path, folder: Path) -> Path | Traversable:
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml"):
        path = folder / text
        if not path.is_file():
            raise UsageError(f"no target file {path}")
        return path
    if text not in target_names():
        raise UsageError(
            f"unknown target {text!r}", f"auto, a .toml file, or one of {', '.join(target_names())}"
        )
    return resources.files("onnxopt.targets") / f"{text}.toml"


def _read_chain(source: Path | Traversable, seen: tuple[str, ...]) -> dict[str, Any]:
    if str(source) in seen:
        raise UsageError(f"target {source} extends itself")
    try:
        data = tomllib.loads(source.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"target {source}: {error}") from error
    parent = data.pop("extends", None)
    if parent is None:
        return data
    folder = source.parent if isinstance(source, Path) else Path()
    return _extend(_read_chain(_find(str(parent), folder), (*seen, str(source))), data)


def _extend(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """The child's values over the parent's; the child's rows before the parent's."""
    merged = dict(parent)
    for key, value in child.items():
        known = merged.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            merged[key] = _extend(known, value)
        elif key in _ROWS and isinstance(value, list) and isinstance(known, list):
            merged[key] = [*value, *known]
        else:
            merged[key] = value
    return merged
