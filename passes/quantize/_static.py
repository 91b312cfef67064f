"""The model with chosen units in integers: what every static pass does once it has chosen."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterator, Mapping, Sequence

import onnx_ir as ir

from onnxopt.calibrate import Range, Statistics, tensor_sizes
from onnxopt.errors import DataError, UsageError
from onnxopt.graph import opset
from onnxopt.targets import Int8Scheme, Target
from onnxopt.transform import Context, Note
from onnxopt_passes.fuse.recognize_hard_swish import RecognizeHardSwish
from onnxopt_passes.quantize._calibrated import output_rank
from onnxopt_passes.quantize._float_outputs import leaves_float
from onnxopt_passes.quantize._gains import Sizes
from onnxopt_passes.quantize._placement import tensor_names
from onnxopt_passes.quantize._rewriting import Rewriter
from onnxopt_passes.quantize._selection import gaps
from onnxopt_passes.quantize._units import Unit
from onnxopt_passes.simplify.raise_opset import RaiseOpset

LEAST_OPSET = 14
"""13 gave DequantizeLinear its axis, 14 brought HardSwish."""


def scheme_of(context: Context, what: str) -> tuple[Target, Int8Scheme | None]:
    """The context's target and its integers.

    Raises:
        UsageError: There is no target.
    """
    if context.target is None:
        raise UsageError(f"{what} was given no target", "a target", "give one by --target")
    return context.target, context.target.int8


def raised(model: ir.Model, context: Context) -> Iterator[Note]:
    """Raise the opset where it is too low, and recognize what only the new one can spell."""
    if opset(model) >= LEAST_OPSET:
        return
    yield from RaiseOpset(to=LEAST_OPSET).rewrite(model, context)
    if opset(model) >= LEAST_OPSET:
        yield from RecognizeHardSwish().rewrite(model, context)


def sizes_of(model: ir.Model, units: Sequence[Unit], context: Context) -> Sizes:
    """The sizes of all tensors around these units and of what they slow, on the first sample."""
    if context.calibration is None:
        raise DataError("there is no calibration data", todo="give some with --data")
    slowed = (one.value.name or "" for unit in units for one in unit.slowed)
    names = (*tensor_names(units), *slowed)
    return tensor_sizes(model, names, context.calibration, threads=context.threads)


def quantize_units(
    model: ir.Model,
    units: Sequence[Unit],
    target: Target,
    ranges: Mapping[str, Range],
    statistics: Statistics,
) -> Iterator[Note]:
    """Rewrite units whose tensors fit; notes on them and on what parts them."""
    scheme = target.int8
    if scheme is None:
        raise ValueError(f"{target.name} has no int8 scheme")
    read = {value for unit in units for value in unit.inputs}
    notes = [*(_applied(unit, scheme, read) for unit in units), *gaps(units, target)]
    Rewriter(model, scheme, units, ranges, statistics)
    yield from notes


def exhaust(steps: Generator[Note, None, list[Unit]]) -> tuple[list[Note], list[Unit]]:
    """What a generator yields and returns."""
    notes: list[Note] = []
    while True:
        try:
            notes.append(next(steps))
        except StopIteration as stop:
            return notes, stop.value


def _applied(unit: Unit, scheme: Int8Scheme, read: Container[ir.Value]) -> Note:
    in_float = leaves_float(unit, read, output_rank(unit))
    leaves_as = (unit.kernel.float_output,) if unit.kernel.float_output else ()
    becomes = (in_float and leaves_as) or unit.kernel.runs_as
    kernels = " and ".join(becomes) or "another reading of its input's codes"
    weights = f", {scheme.weight} weights" if unit.weight is not None else ""
    return Note.applied(unit.node, f"{scheme.activation} activations{weights}: {kernels}")
