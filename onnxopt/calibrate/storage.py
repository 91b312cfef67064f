"""Statistics on disk: one ``.npz`` file, written atomically, not trusted when it is read."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.calibrate import sums
from onnxopt.calibrate.channels import ChannelStatistics
from onnxopt.calibrate.histogram import NO_VALUES, Histogram
from onnxopt.calibrate.statistics import Statistics, TensorStatistics
from onnxopt.data import Dataset
from onnxopt.store import content_hash

FORMAT = 2
MOST_BYTES = 512 * 1024 * 1024
"""All cached statistics together; the oldest go first."""
_NO_COUNTS = np.zeros(0, np.int64)


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
    channels = [tensor.channels for tensor in tensors]
    known = [found for found in channels if found is not None]
    head = {
        "format": FORMAT,
        "samples": statistics.samples,
        "names": list(statistics.tensors),
        "kinds": [[tensor.dtype, tensor.ranks] for tensor in tensors],
        "sums": [[str(tensor.minimum_sum), str(tensor.maximum_sum)] for tensor in tensors],
        "channels": [None if found is None else [found.axis, found.lengths] for found in channels],
        "skipped": dict(statistics.skipped),
    }
    integers = [[t.count, t.nan_count, t.inf_count, t.extrema_samples] for t in tensors]
    np.savez_compressed(
        file,
        head=np.frombuffer(json.dumps(head).encode(), np.uint8),
        integers=np.array(integers, np.int64),
        extrema=np.array([[t.minimum, t.maximum] for t in tensors], np.float64),
        sizes=np.array([t.histogram.bins.size for t in tensors], np.int64),
        bins=np.concatenate([NO_VALUES.bins, *(t.histogram.bins for t in tensors)]),
        counts=np.concatenate([NO_VALUES.counts, *(t.histogram.counts for t in tensors)]),
        channel_sizes=np.array([0 if c is None else c.counts.size for c in channels], np.int64),
        channel_counts=np.concatenate([_NO_COUNTS, *(c.counts for c in known)]),
        channel_extrema=np.concatenate(
            [np.zeros((0, 2)), *(np.stack([c.minimum, c.maximum], 1) for c in known)]
        ),
        channel_sums=np.concatenate([_NO_COUNTS.reshape(0, sums.LIMBS), *(c.limbs for c in known)]),
    )


def _parse(arrays: dict[str, npt.NDArray[Any]]) -> Statistics | None:
    head = json.loads(arrays["head"].tobytes())
    if head["format"] != FORMAT:
        return None
    rows = zip(
        head["kinds"],
        head["sums"],
        arrays["integers"],
        arrays["extrema"],
        _histograms(arrays),
        _channels(arrays, head["channels"]),
        strict=True,
    )
    tensors = [_tensor(*row) for row in rows]
    named = dict(zip(head["names"], tensors, strict=True))
    return Statistics(int(head["samples"]), named, dict(head["skipped"]))


def _histograms(arrays: dict[str, npt.NDArray[Any]]) -> list[Histogram]:
    ends = np.cumsum(arrays["sizes"])
    bins, counts = np.split(arrays["bins"], ends)[:-1], np.split(arrays["counts"], ends)[:-1]
    return list(map(Histogram, bins, counts))


def _channels(
    arrays: dict[str, npt.NDArray[Any]], kinds: Sequence[Any]
) -> Iterator[ChannelStatistics | None]:
    ends = np.cumsum(arrays["channel_sizes"])
    names = ("channel_counts", "channel_extrema", "channel_sums")
    columns = [np.split(arrays[name], ends)[:-1] for name in names]
    for kind, counts, extrema, limbs in zip(kinds, *columns, strict=True):
        if kind is None:
            yield None
            continue
        axis, lengths = kind
        low, high = (np.ascontiguousarray(column) for column in extrema.T)
        yield ChannelStatistics(int(axis), tuple(lengths), counts, low, high, limbs)


def _tensor(
    kind: list[Any],
    total: list[str],
    integers: npt.NDArray[Any],
    extrema: npt.NDArray[Any],
    histogram: Histogram,
    channels: ChannelStatistics | None,
) -> TensorStatistics:
    count, nans, infs, samples = map(int, integers)
    return TensorStatistics(
        dtype=kind[0],
        ranks=tuple(kind[1]),
        count=count,
        nan_count=nans,
        inf_count=infs,
        minimum=float(extrema[0]),
        maximum=float(extrema[1]),
        histogram=histogram,
        extrema_samples=samples,
        minimum_sum=Fraction(total[0]),
        maximum_sum=Fraction(total[1]),
        channels=channels,
    )
