"""The built-in passes, one a file; a new pass is a new file and nothing else to edit."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxopt.transform import Pass


def load() -> Iterator[type[Pass]]:
    """Import every module below this package and give the pass classes they define."""
    from onnxopt.transform import Pass

    for info in pkgutil.walk_packages(__path__, prefix=f"{__name__}."):
        module = importlib.import_module(info.name)
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Pass) and value.is_concrete(module):
                yield value
