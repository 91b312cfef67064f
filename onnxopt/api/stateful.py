"""Recurrent state in the verbs: data gives steps, everything after sees full feeds."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from onnxopt.api.options import RunOptions
from onnxopt.comparing import Unroller
from onnxopt.data import Dataset, Split, State, each_size, unrolled_source
from onnxopt.errors import UsageError
from onnxopt.signature import signature_of

_APART = 16
"""Steps between those that a few samples are taken of."""


def with_state(dataset: Dataset, model: ir.Model, options: RunOptions) -> Dataset:
    """Steps with the state that the model leaves at each; other data as it is.

    Raises:
        UsageError: The state names no input or output of the model, or does not fit.
    """
    return _with_state(dataset, _unroller(model, options)) if options.reading.state else dataset


def split_with_state(parts: Split, model: ir.Model, options: RunOptions) -> Split:
    """Each part with state; see ``with_state``."""
    if not options.reading.state:
        return parts
    unroller = _unroller(model, options)
    return replace(
        parts,
        calibration=_with_state(parts.calibration, unroller),
        search=_with_state(parts.search, unroller),
        test=_with_state(parts.test, unroller),
    )


def check_state(options: RunOptions) -> None:
    """Refuse state for inputs that are made up.

    Raises:
        UsageError: State is given.
    """
    if options.reading.state:
        raise UsageError("state without data", "data whose samples are steps")


def spread(dataset: Dataset, count: int) -> Dataset:
    """The first ``count`` samples; of steps some that lie apart, so that their states differ."""
    size = len(dataset)
    if unrolled_source(dataset) is None:
        return dataset.take(range(min(count, size)))
    apart = max(1, min(_APART, size // count))
    return dataset.take(range(0, min(size, apart * count), apart))


def _unroller(model: ir.Model, options: RunOptions) -> Unroller:
    state = State(signature_of(model), options.reading.state, each_size(options.dims)[0])
    return Unroller(model, state, options.threads)


def _with_state(dataset: Dataset, unroller: Unroller) -> Dataset:
    return dataset if unrolled_source(dataset) is not None else unroller.unroll(dataset)
