"""Work on a stream of items by several threads, each with a state of its own."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
State = TypeVar("State")


def spread(
    items: Iterable[Item],
    states: Sequence[State],
    work: Callable[[State, Item], None],
    told: Callable[[int], None],
) -> None:
    """Do ``work(state, item)`` for each item, as many at once as there are states.

    Items are read by the caller's thread, and one more of them than there are states, so that no
    thread waits for its next one. The first failure ends it and is raised here.

    Args:
        items: What to work on.
        states: One a thread; no two threads work on one at a time.
        work: What to do.
        told: Given the number of items that are done, after each; in the caller's thread.
    """
    if len(states) == 1:
        for count, item in enumerate(items, 1):
            work(states[0], item)
            told(count)
        return
    free: queue.SimpleQueue[State] = queue.SimpleQueue()
    for state in states:
        free.put(state)

    def task(item: Item) -> None:
        state = free.get()
        try:
            work(state, item)
        finally:
            free.put(state)

    running: set[Future[None]] = set()
    count = 0
    with ThreadPoolExecutor(len(states)) as pool:
        for item in items:
            running.add(pool.submit(task, item))
            if len(running) > len(states):
                count, running = _reap(running, count, told)
        while running:
            count, running = _reap(running, count, told)


def _reap(
    running: set[Future[None]], count: int, told: Callable[[int], None]
) -> tuple[int, set[Future[None]]]:
    """Wait until some are done; what failed raises."""
    done, left = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
        count += 1
        told(count)
    return count, left
