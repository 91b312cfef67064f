"""Digests of weights, so that an exported file says what it was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def files_digest(paths: Iterable[Path]) -> str:
    """SHA-256 of one file; of several, over theirs in order of name."""
    found = {}
    for path in sorted(paths):
        with path.open("rb") as stream:
            found[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    if len(found) == 1:
        return next(iter(found.values()))
    lines = [f"{digest} {name}" for name, digest in found.items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def arrays_digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """SHA-256 over named arrays: names, types, shapes and bytes."""
    state = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        state.update(f"{name} {array.dtype.name} {array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()
