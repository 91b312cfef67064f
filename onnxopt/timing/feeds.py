"""Inputs on their way to another process: an npz file without pickled objects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError

Feeds = Mapping[str, npt.NDArray[Any]]
_INDEX = "index"
_NUMPY_ONLY = 256  # dtype numbers from here on come from ml_dtypes; numpy saves them as void


def save_feeds(path: Path, samples: Sequence[Feeds]) -> None:
    """Write samples; input names stay inside the file, whatever they hold.

    Raises:
        DataError: there is no sample, or a value is no dense array.
    """
    if not samples:
        raise DataError("there is no sample to run", "at least one")
    index: list[dict[str, str]] = []
    arrays: dict[str, npt.NDArray[Any]] = {}
    for number, feeds in enumerate(samples):
        index.append({})
        for position, (name, value) in enumerate(feeds.items()):
            array = _dense(value, f"input {name} of sample {number}")
            index[-1][name] = "string" if array.dtype.kind in "OST" else array.dtype.name
            arrays[f"{number}.{position}"] = _plain(array)
    arrays[_INDEX] = np.array(json.dumps(index))
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_feeds(path: Path) -> list[dict[str, npt.NDArray[Any]]]:
    """Read what ``save_feeds`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        index: list[dict[str, str]] = json.loads(str(file[_INDEX]))
        return [
            {
                name: _restored(file[f"{number}.{position}"], dtype)
                for position, (name, dtype) in enumerate(entry.items())
            }
            for number, entry in enumerate(index)
        ]


def _dense(value: object, what: str) -> npt.NDArray[Any]:
    if not isinstance(value, np.ndarray | np.generic):
        raise DataError(f"{what} is a {type(value).__name__}", "a numpy array")
    return np.asarray(value)


def _plain(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype.kind in "OST":
        text = [item.decode() if isinstance(item, bytes) else str(item) for item in array.flat]
        return np.array(text, dtype=np.str_).reshape(array.shape)
    if array.dtype.num >= _NUMPY_ONLY:
        return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").reshape(array.shape)
    return array


def _restored(array: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    if dtype == "string" or array.dtype.name == dtype:
        return array
    return array.view(getattr(ml_dtypes, dtype))
