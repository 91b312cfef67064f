"""What TensorFlow's exporters have in common: tf2onnx, its versions, its opset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxopt import store
from onnxopt.errors import ModelError
from onnxopt.exporting.failing import explained
from onnxopt.exporting.silence import silent
from onnxopt.exporting.source import Converted, Outputs, Plan

OPSET = 18
"""The newest that tf2onnx writes."""

ROWS = "N"
"""How the number of rows is called."""


def exporter_name() -> str:
    """tf2onnx with its version."""
    import tf2onnx

    return f"tf2onnx {tf2onnx.__version__}"


def framework_name() -> str:
    """TensorFlow with its version."""
    import tensorflow

    return f"tensorflow {tensorflow.__version__}"


def dims_of(name: str, sizes: Sequence[int | None]) -> tuple[int | str, ...]:
    """Dimensions of an input: the first without a size is the rows', others get own names."""
    return tuple(
        int(size) if size is not None else f"{name}_{axis}" if axis else ROWS
        for axis, size in enumerate(sizes)
    )


def named(found: Any) -> Outputs:
    """What a Keras model or a signature gives, by key, or numbered.

    Raises:
        ModelError: It is nested.
    """
    if isinstance(found, dict):
        pairs = list(found.items())
    elif isinstance(found, list | tuple):
        pairs = [(f"output_{index}", value) for index, value in enumerate(found)]
    else:
        pairs = [("output", found)]
    for name, value in pairs:
        if isinstance(value, dict | list | tuple):
            raise ModelError(f"output {name} is a {type(value).__name__}", "a tensor")
    return {name: np.asarray(value) for name, value in pairs}


def from_function(call: Any, plan: Plan, origin: str) -> Converted:
    """A function of tensors, in order, as ONNX.

    Args:
        call: Takes the inputs by name as a dict; gives a dict, list or tensor.
        plan: What has to come out.
        origin: For messages.

    Raises:
        ModelError: tf2onnx cannot take it.
    """
    import tensorflow as tf
    import tf2onnx

    names = [f"input_{index}" for index in range(len(plan.inputs))]
    signature = [
        tf.TensorSpec(
            [dim if isinstance(dim, int) else None for dim in spec.shape or ()],
            tf.as_dtype(spec.dtype),
            name=name,
        )
        for spec, name in zip(plan.inputs, names, strict=True)
    ]
    given = [spec.name for spec in plan.inputs]

    def flat(*tensors: Any) -> Any:
        found = call(dict(zip(given, tensors, strict=True)))
        several = list(found.values()) if isinstance(found, dict) else found
        several = list(several) if isinstance(several, list | tuple) else [several]
        # an identity of its own keeps outputs apart that are one tensor, and in order
        return [tf.identity(value, name=f"output_{i}") for i, value in enumerate(several)]

    with explained(f"tf2onnx cannot take {origin}"), silent():
        proto, _ = tf2onnx.convert.from_function(
            tf.function(flat), input_signature=signature, opset=min(plan.opset or OPSET, OPSET)
        )
    return Converted(store.load(proto), exporter_name())
