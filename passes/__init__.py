"""The built-in passes, one a file; a new pass is a new file and nothing else to edit."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxopt.transform import Pass


def load() -> Iterator[type[Pass]]:
    """Import every module below this package and give the pass classes they define."""
    for info in pkgutil.walk_packages(__path__, prefix=f"{__name__}."):
        yield from _passes_of(importlib.import_module(info.name))


def find(word: str) -> type[Pass] | None:
    """The pass of a recipe word, by its file's name: no other module is imported."""
    file = word.replace("-", "_")
    if not file.isidentifier() or file.startswith("_"):
        return None
    for family in _families():
        if importlib.util.find_spec(f"{family}.{file}") is not None:
            module = importlib.import_module(f"{family}.{file}")
            found = (one for one in _passes_of(module) if one.pass_name() == word)
            return next(found, None)
    return None


@functools.cache
def _families() -> tuple[str, ...]:
    found = pkgutil.iter_modules(__path__, prefix=f"{__name__}.")
    return tuple(family.name for family in found if family.ispkg)


def _passes_of(module: ModuleType) -> Iterator[type[Pass]]:
    from onnxopt.transform import Pass

    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Pass) and value.is_concrete(module):
            yield value
