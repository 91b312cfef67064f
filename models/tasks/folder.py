"""Sample folders: one ``.npz`` a sample and a ``task.json``, made once for a set of parameters."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onnxopt.errors import BackendMissingError
from onnxopt.progress import Progress

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Description:
    """Everything the bytes of a sample folder depend on, and what is worth knowing besides.

    Attributes:
        task: The task's name.
        samples: How many samples.
        parameters: JSON values that decide the bytes: seed, split, revision, sources, versions.
        notes: JSON values for the reader that decide nothing.
    """

    task: str
    samples: int
    parameters: Mapping[str, Any]
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Equal for equal parameters."""
        text = json.dumps([self.task, self.samples, dict(self.parameters)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def json(self) -> str:
        """The content of ``task.json``."""
        head = {"task": self.task, "samples": self.samples}
        return json.dumps({**head, **self.parameters, **self.notes}, indent=1) + "\n"


def build_folder(
    cache_dir: Path, description: Description, samples: Iterable[Arrays], progress: Progress
) -> Path:
    """Write the samples as they come, then move the folder into place; a finished one is reused.

    Raises:
        BackendMissingError: The cache cannot be written.
    """
    root = cache_dir / "tasks"
    home = root / f"{description.task}-{description.key}"
    if (home / "task.json").is_file():
        return home
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".task-", dir=root) as scratch:
            fresh = Path(scratch, "samples")
            fresh.mkdir()
            _write(fresh, description, samples, progress)
            _move(fresh, home, aside=Path(scratch, "old"))
    except OSError as error:
        raise BackendMissingError(
            f"samples cannot be written to {root}: {error.strerror or error}"
        ) from error
    return home


def _write(
    folder: Path, description: Description, samples: Iterable[Arrays], progress: Progress
) -> None:
    total = description.samples
    for index, arrays in enumerate(samples):
        np.savez_compressed(folder / f"{index:05d}.npz", allow_pickle=False, **arrays)
        progress(f"rendering {description.task}", index + 1, total)
    (folder / "task.json").write_text(description.json(), encoding="utf-8")


def _move(source: Path, home: Path, aside: Path) -> None:
    if home.exists() and not (home / "task.json").is_file():
        shutil.move(home, aside)
    try:
        source.rename(home)
    except OSError:
        if not (home / "task.json").is_file():
            raise
