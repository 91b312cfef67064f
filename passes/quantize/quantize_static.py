"""Static int8 quantization in QDQ form, where the target gains by it."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import onnx_ir as ir

from onnxopt.calibrate import Range, RangeMethod, Statistics, tensor_sizes, value_range
from onnxopt.errors import DataError, UsageError
from onnxopt.exactness import Exactness
from onnxopt.graph import opset
from onnxopt.targets import Int8Scheme, Target
from onnxopt.transform import Context, Need, Note, Pass
from onnxopt_passes.fuse.recognize_hard_swish import RecognizeHardSwish
from onnxopt_passes.quantize._calibrated import calibrated_values, fitting, output_rank
from onnxopt_passes.quantize._float_outputs import leaves_float
from onnxopt_passes.quantize._placement import Sizes, gain_ns, place, tensor_names
from onnxopt_passes.quantize._rewriting import Rewriter
from onnxopt_passes.quantize._selection import Wanted, candidates, gaps
from onnxopt_passes.quantize._units import Unit
from onnxopt_passes.simplify.raise_opset import RaiseOpset

_OPSET = 14  # 13 gave DequantizeLinear its axis, 14 brought HardSwish


@dataclass(frozen=True)
class QuantizeStatic(Pass):
    """Compute ``y = x w + b`` as ``s_x s_w (q_x - z_x) q_w + b``, with 8-bit codes q.

    Activations get one scale and zero point a tensor, from the calibration data; weights one
    symmetric scale an output channel; biases int32 with the scale ``s_x s_w``. A node is rewritten
    only where the target has an integer kernel for it, and (``placement=gain``) only where the
    target's figures say that integers save more than the conversions around them cost. Relu and a
    Clip from 0 after such a node are free and stay inside: the range is taken after them.
    HardSigmoid and HardSwish are spelled as integer Add and Mul. Graph inputs and outputs stay
    float. Fold BatchNormalization and affines first: Q and DQ keep the runtime from doing it.

    Names: a tensor made in integers keeps its name on the dequantized side, which all readers and
    graph outputs see; a tensor made in float keeps its name and gets a copy ``<name>/dq``.

    Attributes:
        method: How a range follows from the values seen.
        percentile: For ``method=percentile``: the share kept, in percent.
        skip: Nodes to leave in float, by name (``*`` and ``?`` allowed).
        op_types: Ops to quantize; empty for every op with an integer kernel.
        placement: ``gain`` for the fastest choice, ``all`` for every node with an integer kernel.
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DATA, Need.TARGET})

    method: RangeMethod = "minmax"
    percentile: float = 99.99
    skip: tuple[str, ...] = ()
    op_types: tuple[str, ...] = ()
    placement: Literal["gain", "all"] = "gain"

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Quantize the model's main graph."""
        target = context.target
        if target is None:
            raise UsageError(f"{self.name} was given no target", "a target", "give one by --target")
        if target.int8 is None:
            yield Note.refused(model.graph.name or "model", f"{target.name} has no int8 scheme")
            return
        if opset(model) < _OPSET:
            notes, chosen = _exhaust(self._chosen(model, target, target.int8, context))
            yield from _raised(model, context) if chosen else notes
            if opset(model) < _OPSET:
                return
        chosen = yield from self._chosen(model, target, target.int8, context)
        if chosen:
            yield from self._quantized(model, chosen, target, target.int8, context)

    def _chosen(
        self, model: ir.Model, target: Target, scheme: Int8Scheme, context: Context
    ) -> Generator[Note, None, list[Unit]]:
        """The units to compute in integers, if the data allows."""
        found = yield from candidates(model, target, Wanted(self.op_types, self.skip))
        if self.placement == "all" or not found:
            return found
        return (yield from _paying(found, _sizes(model, found, context), scheme))

    def _quantized(
        self,
        model: ir.Model,
        chosen: Sequence[Unit],
        target: Target,
        scheme: Int8Scheme,
        context: Context,
    ) -> Iterator[Note]:
        """Calibrate and rewrite."""
        names = [value.name or "" for value in calibrated_values(chosen)]
        statistics = context.statistics(model, names)
        fit = yield from fitting(chosen, statistics)
        if self.placement == "gain" and len(fit) < len(chosen):
            fit = yield from _paying(fit, _sizes(model, fit, context), scheme)
        read = {value for unit in fit for value in unit.inputs}
        notes = [*(_applied(unit, scheme, read) for unit in fit), *gaps(fit, target)]
        Rewriter(model, scheme, fit, self._ranges(statistics), statistics)
        yield from notes

    def _ranges(self, statistics: Statistics) -> dict[str, Range]:
        found = ((name, statistics[name]) for name in statistics)
        return {name: value_range(t, self.method, self.percentile) for name, t in found}


def _raised(model: ir.Model, context: Context) -> Iterator[Note]:
    """Raise the opset, and recognize what only the new one can spell."""
    yield from RaiseOpset(to=_OPSET).rewrite(model, context)
    if opset(model) >= _OPSET:
        yield from RecognizeHardSwish().rewrite(model, context)


def _sizes(model: ir.Model, units: Sequence[Unit], context: Context) -> Sizes:
    if context.calibration is None:
        raise DataError("there is no calibration data", todo="give some with --data")
    names = tensor_names(units)
    return tensor_sizes(model, names, context.calibration, threads=context.threads)


def _exhaust(
    steps: Generator[Note, None, list[Unit]],
) -> tuple[list[Note], list[Unit]]:
    """What a generator yields and returns."""
    notes: list[Note] = []
    while True:
        try:
            notes.append(next(steps))
        except StopIteration as stop:
            return notes, stop.value


def _paying(
    units: Sequence[Unit], sizes: Sizes, scheme: Int8Scheme
) -> Generator[Note, None, list[Unit]]:
    """The units that make the model fastest in integers; notes on other products."""
    paying = place(units, sizes, scheme)
    for unit in units:
        gain_us = gain_ns(unit, sizes) / 1000
        if unit in paying or unit.weight is None:
            continue
        reason = f"its float kernel is {-gain_us:.2g} us a sample faster"
        if gain_us > 0:
            reason = f"integers would save {gain_us:.2g} us a sample, less than conversions take"
        yield Note.refused(unit.node, reason)
    return [unit for unit in units if unit in paying]


def _applied(unit: Unit, scheme: Int8Scheme, read: Container[ir.Value]) -> Note:
    in_float = leaves_float(unit, read, output_rank(unit))
    becomes = (unit.kernel.float_output,) if in_float else unit.kernel.runs_as
    kernels = " and ".join(becomes) or "another reading of its input's codes"
    weights = f", {scheme.weight} weights" if unit.weight is not None else ""
    return Note.applied(unit.node, f"{scheme.activation} activations{weights}: {kernels}")
