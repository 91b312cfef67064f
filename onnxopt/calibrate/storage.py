"""Statistics on disk: one ``.npz`` file, written atomically, not trusted when it is read."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.calibrate.histogram import Histogram
from onnxopt.calibrate.statistics import Statistics, TensorStatistics
from onnxopt.data import Dataset
from onnxopt.store import content_hash

FORMAT = 1
MOST_BYTES = 512 * 1024 * 1024
"""All cached statistics together; the oldest go first."""
_EMPTY_BINS = np.zeros(0, np.uint16)
_EMPTY_COUNTS = np.zeros(0, np.int64)


def path_for(cache: Path, model: ir.Model, names: Sequence[str], dataset: Dataset) -> Path:
    """The file for these tensors of a model on a data set: equal content, equal path."""
    parts = [str(FORMAT), content_hash(model), dataset.fingerprint, str(len(dataset)), *names]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return cache / "statistics" / f"{digest}.npz"


def write(statistics: Statistics, path: Path) -> None:
    """Write a file; whoever reads at the same time sees the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            _save(statistics, file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    prune(path.parent)


def prune(folder: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove the files read or written longest ago until the folder is small enough."""
    files = [(path, path.stat()) for path in folder.glob("*.npz")]
    files.sort(key=lambda pair: max(pair[1].st_mtime, pair[1].st_atime), reverse=True)
    total = 0
    for path, found in files:
        total += found.st_size
        if total > most_bytes:
            path.unlink(missing_ok=True)


def read(path: Path) -> Statistics | None:
    """Read a file; None where it is missing, damaged or of another format."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return _parse({key: file[key] for key in file.files})
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error):
        return None


def _save(statistics: Statistics, file: IO[bytes]) -> None:
    tensors = list(statistics.tensors.values())
    head = {
        "format": FORMAT,
        "samples": statistics.samples,
        "names": list(statistics.tensors),
        "kinds": [[tensor.dtype, tensor.ranks] for tensor in tensors],
        "skipped": dict(statistics.skipped),
    }
    np.savez_compressed(
        file,
        head=np.frombuffer(json.dumps(head).encode(), np.uint8),
        integers=np.array([[t.count, t.nan_count, t.inf_count] for t in tensors], np.int64),
        extrema=np.array([[t.minimum, t.maximum] for t in tensors], np.float64),
        sizes=np.array([t.histogram.bins.size for t in tensors], np.int64),
        bins=np.concatenate([_EMPTY_BINS, *(t.histogram.bins for t in tensors)]),
        counts=np.concatenate([_EMPTY_COUNTS, *(t.histogram.counts for t in tensors)]),
    )


def _parse(arrays: dict[str, npt.NDArray[Any]]) -> Statistics | None:
    head = json.loads(arrays["head"].tobytes())
    if head["format"] != FORMAT:
        return None
    ends = np.cumsum(arrays["sizes"])
    bins, counts = np.split(arrays["bins"], ends)[:-1], np.split(arrays["counts"], ends)[:-1]
    rows = zip(head["names"], head["kinds"], arrays["integers"], arrays["extrema"], strict=True)
    tensors = {
        name: _tensor(kind, integers, extrema, Histogram(b, c))
        for (name, kind, integers, extrema), b, c in zip(rows, bins, counts, strict=True)
    }
    return Statistics(int(head["samples"]), tensors, dict(head["skipped"]))


def _tensor(
    kind: list[Any], integers: npt.NDArray[Any], extrema: npt.NDArray[Any], histogram: Histogram
) -> TensorStatistics:
    dtype, ranks = kind
    count, nans, infs = map(int, integers)
    low, high = map(float, extrema)
    return TensorStatistics(dtype, tuple(ranks), count, nans, infs, low, high, histogram)
