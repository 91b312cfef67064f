"""Samples and values between processes, as JSON and ``.npz``: nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.data import Sample
from onnxopt.errors import DataError


def write_sample(sample: Sample, folder: Path, number: int) -> None:
    """Write feeds and item (not the label) of a sample to ``folder``."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    feeds = {name: _encode(value, arrays) for name, value in sample.feeds.items()}
    description = json.dumps({"item": sample.item, "feeds": feeds})
    (folder / f"{number}.json").write_text(description, encoding="utf-8")
    with (folder / f"{number}.npz").open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def read_sample(folder: Path, number: int) -> Sample:
    """Read what ``write_sample`` wrote."""
    description = json.loads((folder / f"{number}.json").read_text(encoding="utf-8"))
    with np.load(folder / f"{number}.npz", allow_pickle=False) as arrays:
        feeds = {name: _decode(tree, arrays) for name, tree in description["feeds"].items()}
    return Sample(feeds, None, description["item"])


def _encode(value: Any, arrays: dict[str, npt.NDArray[Any]]) -> Any:
    """A JSON tree whose leaves are keys of ``arrays``."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return {"list": [_encode(item, arrays) for item in value]}
    if isinstance(value, Mapping):
        pairs = [[_plain_key(key), _encode(item, arrays)] for key, item in value.items()]
        return {"map": pairs}
    array = np.asarray(value)
    if array.dtype.kind == "O":
        array = array.astype(np.str_)
    dtype = array.dtype.name if array.dtype.isbuiltin != 1 and array.dtype.kind in "Vf" else ""
    key = f"a{len(arrays)}"
    arrays[key] = array.view(f"u{array.itemsize}") if dtype else array
    return {"array": key, "dtype": dtype}


def _decode(tree: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    if tree is None:
        return None
    if "list" in tree:
        return [_decode(item, arrays) for item in tree["list"]]
    if "map" in tree:
        return {key: _decode(item, arrays) for key, item in tree["map"]}
    array = arrays[tree["array"]]
    return array.view(tree["dtype"]) if tree["dtype"] else array


def _plain_key(key: object) -> int | str:
    if isinstance(key, np.integer):
        return int(key)
    if isinstance(key, int | str):
        return key
    raise DataError(f"a map with the key {key!r}", "integers or strings as keys")
