"""What a look at the samples themselves says against them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from onnxopt.data import Dataset, Sample

_FEWEST = 2


def data_warnings(parts: Iterable[Dataset]) -> tuple[str, ...]:
    """One sentence for each thing that makes samples useless, whatever is done with them.

    Args:
        parts: Data sets; each is read once.
    """
    samples = spoiled = 0
    seen: set[bytes] = set()
    for part in parts:
        for sample in part:
            samples += 1
            spoiled += not _is_finite(sample)
            if len(seen) < _FEWEST:
                seen.add(_digest(sample))
    found = []
    if spoiled:
        found.append(
            f"{spoiled} of {samples} samples hold NaN or infinity: nothing can be said of what "
            "they give, leave them out"
        )
    if samples >= _FEWEST and len(seen) < _FEWEST:
        found.append(
            f"all {samples} samples are the same: the ranges and the error are of this one alone, "
            "give samples as they come in use"
        )
    return tuple(found)


def _is_finite(sample: Sample) -> bool:
    return all(
        bool(np.isfinite(array).all())
        for array in map(np.asarray, sample.feeds.values())
        if array.dtype.kind == "f"
    )


def _digest(sample: Sample) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(sample.feeds):
        array: Any = np.asarray(sample.feeds[name])
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
    return digest.digest()
