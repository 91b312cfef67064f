"""The beginnings of docstrings in a wheel's Python files; nothing is run."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from onnxopt_models.tasks.archives import members

SHORTEST, LONGEST = 90, 600
_MARKUP = re.compile(r":[a-z:]+:|[`*|>=~-]{2,}|[`*|]")


def beginnings(path: Path) -> Iterator[str]:
    """The beginning of each longer docstring of public classes and functions, tests left out."""
    for name, content in members(path, (".py",)):
        if "/test" not in f"/{name}":
            yield from filter(None, map(beginning, docstrings(content)))


def docstrings(source: bytes) -> Iterator[str]:
    """Of public classes and functions, in order; of none where the file does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield ast.get_docstring(node) or ""


def beginning(text: str) -> str:
    """The first words without markup, at most 600 characters; nothing where there are too few."""
    line = " ".join(_MARKUP.sub(" ", text).split())
    if len(line) < SHORTEST or not line.isascii():
        return ""
    return line[:LONGEST].rsplit(" ", 1)[0]
