"""``module:factory`` and ``file.py:factory``: the user's own code makes the model."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnxopt.errors import ModelError
from onnxopt.exporting.failing import explained

_SPEC = re.compile(r"([A-Za-z_]\w*(\.[A-Za-z_]\w*)*|.*\.py):[A-Za-z_]\w*\Z", re.DOTALL)


def is_factory(spec: str) -> bool:
    """Whether a source is spelled as a name in a module or in a Python file."""
    return _SPEC.match(spec) is not None


def import_named(spec: str) -> Any:
    """Whatever ``module:name`` or ``file.py:name`` names; modules beside it can be imported.

    Raises:
        ModelError: There is no such module or name, or importing it failed.
    """
    place, _, name = spec.rpartition(":")
    is_file = place.endswith(".py")
    if is_file and not Path(place).is_file():
        raise ModelError(f"no file {place}", "a Python file", "give its path, or module:factory")
    folder = Path(place).parent if is_file else Path()
    with (
        _importable(folder.resolve()),
        explained(f"cannot import {place}"),
        contextlib.redirect_stdout(sys.stderr),  # standard output may be a JSON document
    ):
        module = _file_module(Path(place)) if is_file else importlib.import_module(place)
    if not hasattr(module, name):
        raise ModelError(f"{place} has no {name!r}", "the name of a model or of what makes one")
    return getattr(module, name)


def _file_module(path: Path) -> types.ModuleType:
    """Run a file as a module of its own; frameworks look modules up by their name."""
    name, number = path.stem, 2
    while name in sys.modules:
        name, number = f"{path.stem}_{number}", number + 1
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} cannot be imported", "a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def make(spec: str) -> Any:
    """What a factory gives; anything else that is named is taken as it is.

    Raises:
        ModelError: It cannot be imported, or the factory raises; the message holds its words.
    """
    found = import_named(spec)
    if not _is_factory(found):
        return found
    todo = "call it by hand to see where"
    with explained(f"the factory {spec} raised", todo), contextlib.redirect_stdout(sys.stderr):
        return found()


def _is_factory(thing: Any) -> bool:
    """Functions and classes are called; models that happen to be callable are not."""
    if isinstance(thing, type):
        return True
    return isinstance(thing, types.FunctionType | types.BuiltinFunctionType | types.MethodType)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
