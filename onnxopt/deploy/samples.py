"""Golden samples on disk: ``.npz`` files without pickles, whatever the tensors are called."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import ModelError

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays under their names; equal arrays give equal bytes.

    Raises:
        ModelError: A value is no dense tensor of a type that numpy itself knows.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, _plain(name, value), allow_pickle=False)


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read what ``write_arrays`` wrote.

    Raises:
        ModelError: The file is no such archive.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is no golden sample: {error}") from error


def _plain(name: str, value: object) -> npt.NDArray[Any]:
    if not isinstance(value, np.ndarray | np.generic):
        kind = type(value).__name__
        raise ModelError(f"{name!r} is a {kind}", "dense tensors only in a bundle's samples")
    array = np.asarray(value)
    if array.dtype.kind in "OST":
        return array.astype(np.str_)
    if array.dtype.kind == "V" or not array.dtype.isbuiltin:
        raise ModelError(f"{name!r} is {array.dtype}", "numpy's own types in a bundle's samples")
    return array
