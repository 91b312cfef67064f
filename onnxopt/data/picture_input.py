"""Decides from a signature and a preprocessing which input takes pictures, and how."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.data.check import check_shape
from onnxopt.data.picture import PictureInput
from onnxopt.data.preprocess import DEFAULT_SIZES, Preprocess
from onnxopt.data.state import state_hint
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature, TensorSpec

_RANK = 4
_COUNTS = {"rgb": 3, "bgr": 3, "gray": 1, "rgba": 4}


def picture_input(signature: Signature, steps: Preprocess) -> tuple[TensorSpec, PictureInput]:
    """The input that takes the picture, and how it takes it.

    Raises:
        UsageError: No input fits, several do, or the preprocessing contradicts the model.
    """
    spec = _chosen(signature, steps)
    shape = spec.shape or (None,) * _RANK
    if len(shape) != _RANK or spec.dtype in {"", "string"}:
        raise UsageError(f"input {spec} takes no picture", "an input of 4 axes that holds numbers")
    last = _channels_last(shape, steps)
    axis = 3 if last else 1
    declared = shape[axis]
    channels = _COUNTS[steps.channels] if steps.channels else _declared_channels(declared, spec)
    if isinstance(declared, int) and declared != channels:
        raise UsageError(f"channels {steps.channels!r} are {channels}", f"{declared} as in {spec}")
    for name in ("mean", "std"):
        count = len(getattr(steps, name))
        if count not in (1, channels):
            raise UsageError(f"preprocessing: {name} has {count} values", f"1 or {channels}")
    rows, columns = (shape[1], shape[2]) if last else (shape[2], shape[3])
    size = _size(steps, rows, columns, spec)
    return spec, PictureInput(steps, spec.dtype, size, channels, last)


def fixed_values(
    signature: Signature, steps: Preprocess, picture: str
) -> dict[str, npt.NDArray[Any]]:
    """The values that the preprocessing gives to the other inputs.

    Raises:
        UsageError: One names no other input, or does not fit it.
    """
    others = {spec.name: spec for spec in signature.inputs if spec.name != picture}
    made = {}
    for name, value in steps.constants.items():
        if name not in others:
            raise UsageError(
                f"preprocessing: constant {name!r} is no other input",
                f"one of {', '.join(others)}" if others else "none",
            )
        spec = others[name]
        try:
            made[name] = np.asarray(value, None if spec.dtype == "string" else spec.dtype)
            check_shape(made[name].shape, spec, "preprocessing")
        except (ValueError, TypeError, OverflowError, DataError) as error:
            raise UsageError(f"preprocessing: constant {name}: {error}") from error
    missing = sorted(others.keys() - made.keys())
    if missing:
        raise UsageError(
            f"preprocessing says nothing for input {', '.join(missing)}",
            "a value for each under [constants]",
            state_hint(signature, missing),
        )
    return made


def _chosen(signature: Signature, steps: Preprocess) -> TensorSpec:
    names = ", ".join(str(spec) for spec in signature.inputs)
    if steps.input is not None:
        spec = signature.input(steps.input)
        if spec is None:
            raise UsageError(f"preprocessing: no input {steps.input!r}", f"one of {names}")
        return spec
    fitting = [s for s in signature.inputs if s.shape is None or len(s.shape) == _RANK]
    if len(fitting) != 1:
        raise UsageError(
            f"{len(fitting)} inputs could take the picture ({names})",
            "one, or its name as 'input' in the preprocess file",
        )
    return fitting[0]


def _channels_last(shape: tuple[int | str | None, ...], steps: Preprocess) -> bool:
    """As asked, else where the model declares few channels, else NCHW."""
    if steps.layout is not None:
        return steps.layout == "nhwc"
    return shape[1] not in _COUNTS.values() and shape[3] in _COUNTS.values()


def _declared_channels(declared: int | str | None, spec: TensorSpec) -> int:
    if not isinstance(declared, int):
        return 3
    if declared not in _COUNTS.values():
        raise UsageError(f"input {spec} has {declared} channels", "1, 3 or 4")
    return declared


def _size(
    steps: Preprocess, rows: int | str | None, columns: int | str | None, spec: TensorSpec
) -> tuple[int, int] | None:
    if steps.fit == "none":
        return None
    if steps.size is not None:
        return steps.size
    if isinstance(rows, int) and (isinstance(columns, int) or steps.fit == "height"):
        return rows, columns if isinstance(columns, int) else 1
    if steps.fit not in DEFAULT_SIZES:
        raise UsageError(f"preprocessing {steps.fit!r} has no size for {spec}", "size = [H, W]")
    return DEFAULT_SIZES[steps.fit]
