"""Opens data from its spec string."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from pathlib import Path

from onnxopt.data.dataset import Source, SourceDataset
from onnxopt.data.function import open_function
from onnxopt.data.npz import LABELS, open_folder, open_npz
from onnxopt.data.synthetic import SAMPLES, synthesize
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature

SUPPORTED = (
    "file.npz, a folder of .npz files, package.module:function, path/to/file.py:function, random"
)
_FUNCTION = re.compile(r"([A-Za-z_]\w*(\.[A-Za-z_]\w*)*|.*\.py):[A-Za-z_]\w*\Z", re.DOTALL)


def open_dataset(
    spec: str,
    signature: Signature,
    *,
    labels: str = LABELS,
    batch_axes: Mapping[str, int] | None = None,
    limit: int | None = None,
    seed: int = 0,
    dims: Mapping[str, int] | None = None,
) -> SourceDataset:
    """Open data for a model.

    Args:
        spec: A ``.npz`` file (one array per input, cut along axis 0), a folder of them (one
            sample each), ``module:function``, or ``random``.
        signature: Of the model.
        labels: Name of the array of labels in ``.npz`` files.
        batch_axes: Per input, the axis that a ``.npz`` file is cut along where it is not 0.
        limit: At most this many samples: a choice by seed from files, the first of a function.
        seed: Of that choice, and of ``random``.
        dims: For ``random``, sizes of open dimensions by symbolic name or ``input:axis``.

    Raises:
        UsageError: The spec or an option is not understood.
        DataError: The data does not exist or does not fit the model.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit of {limit} samples", "a number from 1")
    if spec == "random":
        return synthesize(signature, dims=dims, seed=seed, samples=limit or SAMPLES)
    path = Path(spec)
    if path.suffix == ".npz":
        return _limited(
            open_npz(path, signature, labels=labels, batch_axes=batch_axes or {}), limit, seed
        )
    if path.is_dir():
        return _limited(open_folder(path, signature, labels=labels), limit, seed)
    if _FUNCTION.match(spec):
        return SourceDataset(open_function(spec, signature, limit))
    if path.is_file() or not path.suffix:
        raise UsageError(f"data {spec!r} is not understood", SUPPORTED)
    raise DataError(f"no file {spec}", todo=f"supported: {SUPPORTED}")


def _limited(source: Source, limit: int | None, seed: int) -> SourceDataset:
    dataset = SourceDataset(source)
    if limit is None or limit >= len(dataset):
        return dataset
    return dataset.take(sorted(random.Random(seed).sample(range(len(dataset)), limit)))
