"""Checks feeds against a model's signature before the runtime would fail in its own words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.data.dataset import Feeds
from onnxopt.data.state import state_hint
from onnxopt.errors import DataError
from onnxopt.signature import Signature, TensorSpec


def check_feeds(feeds: Mapping[str, Any], signature: Signature, where: str) -> Feeds:
    """The feeds of one sample, exactly as the runtime takes them.

    Extra names are dropped; arrays whose dtype numpy cannot save by name (``bfloat16`` …) are
    reinterpreted.

    Args:
        feeds: Input name to value.
        signature: Of the model.
        where: Names the sample in errors.

    Raises:
        DataError: An input is missing, or has another dtype, rank or fixed size.
    """
    check_names(feeds, signature, where)
    return {spec.name: check_value(feeds[spec.name], spec, where) for spec in signature.inputs}


def check_names(names: Iterable[str], signature: Signature, where: str) -> None:
    """Raise ``DataError`` where an input has no entry."""
    given = list(names)
    missing = [spec.name for spec in signature.inputs if spec.name not in given]
    if missing:
        raise DataError(
            f"{where}: no data for input {', '.join(missing)}",
            wanted=f"{', '.join(str(spec) for spec in signature.inputs)}",
            todo=state_hint(signature, missing) or f"it holds {', '.join(given) or 'nothing'}",
        )


def check_value(value: Any, spec: TensorSpec, where: str) -> Any:
    """One input's value; lists and maps (for inputs that are no tensors) pass unseen."""
    if not spec.dtype and not isinstance(value, np.ndarray | np.generic):
        return value
    if not isinstance(value, np.ndarray | np.generic):
        raise DataError(f"{where}: {spec.name} is a {type(value).__name__}", "a numpy array")
    array = as_dtype(np.asarray(value), spec, where)
    check_shape(array.shape, spec, where)
    return array


def as_dtype(array: npt.NDArray[Any], spec: TensorSpec, where: str) -> npt.NDArray[Any]:
    """The array in the declared dtype, which it must have already up to its byte order."""
    check_dtype(array.dtype, spec, where)
    if not spec.dtype or spec.dtype == "string":
        return array
    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return array
    if array.dtype.kind == "V":
        return array.view(wanted)
    return array.astype(wanted)


def check_dtype(found: np.dtype[Any], spec: TensorSpec, where: str) -> None:
    """Raise ``DataError`` where a dtype is not the declared one."""
    if not spec.dtype or (spec.dtype == "string" and found.kind in "UO"):
        return
    wanted = spec.dtype
    todo = f'convert the array with .astype("{wanted}")'
    if wanted == "string":
        raise DataError(f"{where}: {spec.name} is {found}", "strings (numpy str_)")
    target = np.dtype(wanted)
    same_size_void = found.kind == "V" and found.names is None and found.itemsize == target.itemsize
    if found.newbyteorder("=") == target or (same_size_void and target.isbuiltin != 1):
        return
    raise DataError(f"{where}: {spec.name} is {found}", wanted, todo)


def check_shape(found: tuple[int, ...], spec: TensorSpec, where: str) -> None:
    """Raise ``DataError`` where rank or a fixed size differs."""
    if spec.shape is None:
        return
    shown = "x".join(map(str, found)) or "scalar"
    if len(found) != len(spec.shape):
        raise DataError(
            f"{where}: {spec.name} has {len(found)} axes ({shown})",
            f"{len(spec.shape)} as in {spec}",
        )
    for axis, (size, declared) in enumerate(zip(found, spec.shape, strict=True)):
        if isinstance(declared, int) and size != declared:
            raise DataError(
                f"{where}: {spec.name} is {shown}, axis {axis} has size {size}",
                f"{declared} as in {spec}",
            )
