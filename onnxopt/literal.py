"""Values as a recipe spells them: TOML's, with bare words as strings."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_./+-]*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CLOSING = {"[": "]", "{": "}"}
_RESERVED = frozenset({"true", "false", "inf", "nan"})


def spell(value: Any) -> str:
    """Write a value so that ``parse`` reads it back.

    Raises:
        TypeError: The value is of a kind a recipe cannot hold.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case Enum():
            return spell(value.value)
        case int() | float():
            return repr(value)
        case str() | Path():
            return _spell_text(str(value))
        case list() | tuple() | set() | frozenset():
            items = sorted(value) if isinstance(value, set | frozenset) else value
            return "[" + ", ".join(spell(item) for item in items) + "]"
        case Mapping():
            pairs = (f"{_spell_text(str(key))}={spell(item)}" for key, item in value.items())
            return "{" + ", ".join(pairs) + "}"
        case None:
            return '""'
    raise TypeError(f"a recipe cannot spell {type(value).__name__}")


def parse(text: str) -> Any:
    """Read one value: a TOML value, or a bare word as a string.

    Raises:
        ValueError: It is neither.
    """
    stripped = text.strip()
    if _BARE.match(stripped) and stripped not in _RESERVED:
        return stripped
    if stripped.startswith("["):
        return [parse(item) for item in _split_items(stripped)]
    if stripped.startswith("{"):
        return _parse_table(stripped)
    try:
        return tomllib.loads(f"value = {stripped}")["value"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise ValueError(f"{stripped!r} is no value") from error


def _parse_table(text: str) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for item in _split_items(text):
        key, *value = split_outside(item, "=")
        if not value:
            raise ValueError(f"{item.strip()!r} is no key=value")
        name = str(parse(key))
        if name in table:
            raise ValueError(f"key {name!r} stands twice")
        table[name] = parse("=".join(value))
    return table


def _split_items(text: str) -> list[str]:
    if not text.endswith(_CLOSING[text[0]]):
        raise ValueError(f"{text!r} lacks its closing bracket")
    inner = text[1:-1].strip()
    if not inner:
        return []
    pieces = split_outside(inner, ",")
    return pieces[:-1] if not pieces[-1].strip() else pieces


def split_outside(text: str, separator: str) -> list[str]:
    """Split at a one-character separator that stands outside quotes, brackets and braces."""
    pieces, depth, quote, start, escaped = [], 0, "", 0, False
    for position, char in enumerate(text):
        if quote:
            closes = char == quote and not escaped
            escaped = quote == '"' and char == "\\" and not escaped
            quote = "" if closes else quote
        elif char in "\"'":
            quote = char
        elif char == separator and depth == 0:
            pieces.append(text[start:position])
            start = position + 1
        elif char in "[{(":
            depth += 1
        elif char in "]})":
            depth -= 1
    return [*pieces, text[start:]]


def _spell_text(text: str) -> str:
    if _BARE.match(text) and text not in _RESERVED:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    controls = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    for char, replacement in controls.items():
        escaped = escaped.replace(char, replacement)
    return '"' + _CONTROL.sub(_escape_control, escaped) + '"'


def _escape_control(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
