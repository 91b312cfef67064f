"""Inputs that were built into a model, and how both forms are fed from the same samples.

A model specialised to an input's value remembers the value in its metadata, so that whoever
compares or times it next to the general one knows what to feed to which.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.errors import DataError, ModelError

METADATA_KEY = "onnxopt.fixed"
"""Model metadata: JSON of input name → ``{"dtype": …, "shape": […], "values": […]}``."""

MAX_ELEMENTS = 4096
"""The most elements of a value that a model remembers."""

Values = Mapping[str, npt.NDArray[Any]]


def record_fixed(model: ir.Model, name: str, value: npt.NDArray[Any]) -> None:
    """Write into a model's metadata that an input was built in with this value."""
    known = json.loads(model.metadata_props.get(METADATA_KEY, "{}"))
    known[name] = {
        "dtype": "string" if value.dtype.kind in "OUS" else value.dtype.name,
        "shape": list(value.shape),
        "values": value.reshape(-1).tolist(),
    }
    model.metadata_props[METADATA_KEY] = json.dumps(known, sort_keys=True)


def fixed_inputs(model: ir.Model) -> dict[str, npt.NDArray[Any]]:
    """The inputs that were built into a model, with their values; empty for most models.

    Raises:
        ModelError: The metadata is damaged.
    """
    return parse_fixed(model.metadata_props)


def parse_fixed(metadata: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    """What ``record_fixed`` wrote into a model's metadata.

    Raises:
        ModelError: The metadata is damaged.
    """
    text = metadata.get(METADATA_KEY)
    if not text:
        return {}
    try:
        return {name: _array(entry) for name, entry in json.loads(text).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"metadata {METADATA_KEY!r} is damaged: {error}") from error


def without_fixed(feeds: Mapping[str, Any], fixed: Values, known: Container[str]) -> dict[str, Any]:
    """Feeds for a model that has some inputs built in.

    Args:
        feeds: Those of the general model, or of this one.
        fixed: What is built in.
        known: Names the model still takes; where a fixed input is among them, its value is added.

    Raises:
        DataError: A feed differs from what is built in.
    """
    for name, value in fixed.items():
        if name in feeds and not np.array_equal(feeds[name], value):
            raise DataError(
                f"input {name} is {_brief(np.asarray(feeds[name]))}",
                f"{_brief(value)}, which is built into the model",
            )
    kept = {name: value for name, value in feeds.items() if name not in fixed}
    return {**kept, **{name: value for name, value in fixed.items() if name in known}}


def _brief(array: npt.NDArray[Any]) -> str:
    return str(array.reshape(-1)[0]) if array.size == 1 else f"an array of {array.size} values"


def _array(entry: Mapping[str, Any]) -> npt.NDArray[Any]:
    dtype = np.dtype(object if entry["dtype"] == "string" else entry["dtype"])
    return np.array(entry["values"], dtype=dtype).reshape(entry["shape"])
