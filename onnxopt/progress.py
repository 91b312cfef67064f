"""Progress is a callback: the library is silent, the command line draws bars."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``; ``total`` is 0 where it is not known."""


def no_progress(what: str, done: int, total: int) -> None:
    """Ignore progress."""
