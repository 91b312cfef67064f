"""The order in which lessons are gone through: shuffled each epoch, those of one shape together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

import numpy as np

from onnxopt.distill.joining import Axes, key_of
from onnxopt.distill.lessons import Lesson

T = TypeVar("T")
_WINDOW = 8  # batches in which lessons of one shape are brought together
_AHEAD = 2


def order_of(epoch: int, count: int, seed: int) -> list[int]:
    """A permutation drawn by seed and epoch."""
    return [int(at) for at in np.random.default_rng([seed, epoch]).permutation(count)]


def updates_per_epoch(count: int, batch: int) -> int:
    """Batches that an epoch has."""
    return -(-count // batch)


def batches(
    get: Callable[[int], Lesson], indices: Sequence[int], batch: int, seed: int, start: int = 0
) -> Iterator[list[Lesson]]:
    """Batches without end; which ones follow depends on ``start`` alone.

    Args:
        get: The lesson of a sample.
        indices: The samples, in the order of the first epoch.
        batch: Samples a batch; the last of an epoch may be smaller.
        seed: Of the order.
        start: How many batches to leave out.
    """
    size = min(batch, len(indices))
    per_epoch = updates_per_epoch(len(indices), size)
    epoch, skip = divmod(start, per_epoch)
    while True:
        yield from _epoch(get, indices, size, seed, epoch, skip)
        epoch, skip = epoch + 1, 0


def groups(lessons: Sequence[Lesson], axes: Axes, most: int) -> list[list[Lesson]]:
    """Lessons cut into runs that can be joined, of at most so many."""
    if not axes.joins:
        return [[lesson] for lesson in lessons]
    by_key: dict[object, list[Lesson]] = {}
    for lesson in lessons:
        by_key.setdefault(key_of(lesson, axes), []).append(lesson)
    return [same[at : at + most] for same in by_key.values() for at in range(0, len(same), most)]


def ahead(stream: Iterator[T]) -> Generator[T]:
    """The same entries, the next ones made in a thread meanwhile.

    An error of the stream is raised here. Leaving early stops the thread.
    """
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(_AHEAD)
    left = threading.Event()

    def put(entry: tuple[T | None, BaseException | None]) -> None:
        while not left.is_set():
            try:
                ready.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return

    def run() -> None:
        try:
            for value in stream:
                put((value, None))
                if left.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - handed over to whoever reads
            put((None, error))

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    try:
        while True:
            value, error = ready.get()
            if error is not None:
                raise error
            yield value  # type: ignore[misc]
    finally:
        left.set()
        worker.join()


def _epoch(
    get: Callable[[int], Lesson],
    indices: Sequence[int],
    size: int,
    seed: int,
    epoch: int,
    skip: int,
) -> Iterator[list[Lesson]]:
    order = list(indices)
    if epoch:
        order = [indices[at] for at in order_of(epoch, len(indices), seed)]
    window = size * _WINDOW
    for number, start in enumerate(range(0, len(order), window)):
        chosen = order[start : start + window]
        count = updates_per_epoch(len(chosen), size)
        if skip >= count:
            skip -= count
            continue
        lessons = sorted((get(index) for index in chosen), key=_shapes)
        cut = [lessons[at : at + size] for at in range(0, len(lessons), size)]
        mixed = np.random.default_rng([seed, epoch, number]).permutation(len(cut))
        yield from [cut[at] for at in mixed][skip:]
        skip = 0


def _shapes(lesson: Lesson) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, np.shape(value)) for name, value in sorted(lesson.feeds.items())]
