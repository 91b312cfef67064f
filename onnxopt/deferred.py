"""Rooms that load a module when one of its names is first asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def loader(
    room: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose public names stand in its modules.

    A command asks for a few of the hundred things that a package offers, and loading all of them
    is what it would spend most of its start on.

    Args:
        room: The package.
        names: Module → the names that it gives, with spaces between. None of them may be the name
            of a module of the package.
    """
    homes = {name: module for module, given in names.items() for name in given.split()}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[room], name, value)
        return value

    return find, lambda: sorted(homes)
