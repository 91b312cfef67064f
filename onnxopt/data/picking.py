"""Samples at wanted positions out of a stream that only runs forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from onnxopt.errors import DataError

T = TypeVar("T")


def pick(stream: Iterator[T], indices: Sequence[int] | None, origin: str) -> Iterator[T]:
    """The entries at these positions, in this order; all of them for None.

    Entries that come before their turn wait in memory: ascending positions hold one.

    Raises:
        DataError: The stream ends early.
    """
    if indices is None:
        yield from stream
        return
    last_use = {index: at for at, index in enumerate(indices)}
    waiting: dict[int, T] = {}
    numbered = enumerate(stream)
    for at, index in enumerate(indices):
        while index not in waiting:
            found = next(numbered, None)
            if found is None:
                raise DataError(f"{origin} yielded fewer samples than before")
            if last_use.get(found[0], -1) >= at:
                waiting[found[0]] = found[1]
        yield waiting[index] if last_use[index] > at else waiting.pop(index)
