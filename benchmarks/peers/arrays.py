"""Samples on their way between environments: an npz file without pickled objects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_INDEX = "index"


def save(path: Path, samples: Sequence[Mapping[str, Any]]) -> Path:
    """Write samples; names stay inside the file, whatever they hold."""
    index = [list(sample) for sample in samples]
    arrays = {
        f"{number}.{place}": np.asarray(value)
        for number, sample in enumerate(samples)
        for place, value in enumerate(sample.values())
    }
    arrays[_INDEX] = np.array(json.dumps(index))
    with Path(path).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return path


def load(path: Path | str) -> list[dict[str, Any]]:
    """Read what ``save`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        index: list[list[str]] = json.loads(str(file[_INDEX]))
        return [
            {name: file[f"{number}.{place}"] for place, name in enumerate(names)}
            for number, names in enumerate(index)
        ]
