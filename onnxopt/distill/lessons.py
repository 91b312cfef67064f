"""Samples with what the teacher says to them: computed once, then kept in memory or on disk."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxopt.data import Dataset, Feeds, Sample
from onnxopt.distill.teacher import Teacher

MEMORY_BYTES = 2 << 30
DISK_BYTES = 8 << 30


@dataclass(frozen=True, eq=False)
class Lesson:
    """A sample and the teacher's tensors for it.

    Attributes:
        feeds: Inputs by name.
        targets: Tensors by name.
        label: The sample's, where it has one.
    """

    feeds: Feeds
    targets: Mapping[str, Any]
    label: object | None = None

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        return sum(np.asarray(v).nbytes for v in (*self.feeds.values(), *self.targets.values()))


class Lessons:
    """All lessons of a data set, made when they are first asked for.

    The data is read once, in the order given; what was read before its turn waits. Each sample is
    taught alone, so that lessons do not depend on when and with which others they are made.

    Args:
        dataset: The samples.
        teacher: Whoever knows.
        order: In which they will first be asked for.
        memory_bytes: Most memory for them; the rest goes to disk.
        folder: Where; the system's folder for temporary files where None.

    Attributes:
        seconds: What making them has taken so far.
    """

    def __init__(
        self,
        dataset: Dataset,
        teacher: Teacher,
        order: Sequence[int],
        memory_bytes: int = MEMORY_BYTES,
        folder: Path | None = None,
    ) -> None:
        self.seconds = 0.0
        self._teacher = teacher
        self._order = tuple(order)
        self._stream: Iterator[Sample] = iter(dataset.take(self._order))
        self._read = 0
        self._room = memory_bytes
        self._memory: dict[int, Lesson] = {}
        self._disk: dict[int, Path] = {}
        self._folder = folder
        self._spill: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._order)

    @property
    def order(self) -> tuple[int, ...]:
        """The samples there are, as they will first be asked for."""
        return self._order

    @property
    def made(self) -> int:
        """How many have been made."""
        return self._read

    def get(self, index: int) -> Lesson:
        """The lesson of the sample at this position of the data set."""
        with self._lock:
            while index not in self._memory and index not in self._disk:
                self._make_next()
        return self._memory[index] if index in self._memory else _load(self._disk[index])

    def close(self) -> None:
        """Remove what is on disk."""
        if self._spill is not None:
            self._spill.cleanup()

    def _make_next(self) -> None:
        start = time.perf_counter()
        sample = next(self._stream)
        lesson = Lesson(sample.feeds, self._teacher.teach(sample), sample.label)
        index = self._order[self._read]
        self._read += 1
        if lesson.nbytes <= self._room:
            self._room -= lesson.nbytes
            self._memory[index] = lesson
        else:
            self._disk[index] = self._put(index, lesson)
        self.seconds += time.perf_counter() - start

    def _put(self, index: int, lesson: Lesson) -> Path:
        if self._spill is None:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
            self._spill = tempfile.TemporaryDirectory(prefix="lessons-", dir=self._folder)
        path = Path(self._spill.name) / f"{index}.npz"
        arrays = {f"feed:{name}": value for name, value in lesson.feeds.items()}
        arrays |= {f"target:{name}": value for name, value in lesson.targets.items()}
        if lesson.label is not None:
            arrays["label"] = np.asarray(lesson.label)
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        return path


def affordable(count: int, lesson: Lesson, room: int = MEMORY_BYTES + DISK_BYTES) -> int:
    """How many lessons like this one may be kept, of so many."""
    return max(1, min(count, room // max(lesson.nbytes, 1)))


def _load(path: Path) -> Lesson:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    label = arrays.pop("label", None)
    feeds = {n.removeprefix("feed:"): v for n, v in arrays.items() if n.startswith("feed:")}
    told = {n.removeprefix("target:"): v for n, v in arrays.items() if n.startswith("target:")}
    return Lesson(feeds, told, label)
