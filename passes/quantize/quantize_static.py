"""Static int8 quantization in QDQ form, where the target gains by it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import onnx_ir as ir

from onnxopt.exactness import Exactness
from onnxopt.graph import opset
from onnxopt.targets import Int8Scheme, Target
from onnxopt.transform import Context, Need, Note, Pass
from onnxopt_passes.quantize._calibrated import calibrated_values, fitting
from onnxopt_passes.quantize._gains import Sizes, gain_ns
from onnxopt_passes.quantize._open_sizes import unproven_sizes
from onnxopt_passes.quantize._placement import place, tensor_names
from onnxopt_passes.quantize._ranges import Method, detail_of, ranges_of
from onnxopt_passes.quantize._selection import Names, Wanted, candidates
from onnxopt_passes.quantize._static import (
    LEAST_OPSET,
    exhaust,
    quantize_units,
    raised,
    scheme_of,
    sizes_of,
)
from onnxopt_passes.quantize._units import Unit


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
        method: How a range follows from the values seen; ``auto`` takes for each tensor the one
            with the least expected error.
        percentile: For ``method=percentile``: the share kept, in percent.
        skip: Nodes to leave in float, by name (``*`` and ``?`` allowed).
        op_types: Ops to quantize; empty for every op with an integer kernel.
        placement: ``gain`` for the fastest choice, ``all`` for every node with an integer kernel.
        only: Exactly these nodes, by name, of those with an integer kernel; empty for what
            ``placement`` says. It is how a choice that was searched for is replayed.
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DATA, Need.TARGET})

    method: Method = "minmax"
    percentile: float = 99.99
    skip: tuple[str, ...] = ()
    op_types: tuple[str, ...] = ()
    placement: Literal["gain", "all"] = "gain"
    only: tuple[str, ...] = ()

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Quantize the model's main graph."""
        target, scheme = scheme_of(context, self.name)
        if scheme is None:
            yield Note.refused(model.graph.name or "model", f"{target.name} has no int8 scheme")
            return
        if unproven := unproven_sizes(model, target):
            yield Note.refused(model.graph.name or "model", unproven)
            return
        if opset(model) < LEAST_OPSET:
            notes, chosen = exhaust(self._chosen(model, target, scheme, context))
            yield from raised(model, context) if chosen else notes
            if opset(model) < LEAST_OPSET:
                return
        chosen = yield from self._chosen(model, target, scheme, context)
        if chosen:
            yield from self._quantized(model, chosen, target, scheme, context)

    def _chosen(
        self, model: ir.Model, target: Target, scheme: Int8Scheme, context: Context
    ) -> Generator[Note, None, list[Unit]]:
        """The units to compute in integers, if the data allows."""
        found = yield from candidates(model, target, Wanted(self.op_types, self.skip))
        if self.only:
            return (yield from _named(found, self.only))
        if self.placement == "all" or not found:
            return found
        return (yield from _paying(found, sizes_of(model, found, context), scheme))

    def _quantized(
        self,
        model: ir.Model,
        chosen: Sequence[Unit],
        target: Target,
        scheme: Int8Scheme,
        context: Context,
    ) -> Iterator[Note]:
        """Calibrate and rewrite."""
        names = self._measured(model, chosen, target)
        statistics = context.statistics(model, names, detail_of(self.method))
        fit = yield from fitting(chosen, statistics)
        if self.placement == "gain" and not self.only and len(fit) < len(chosen):
            fit = yield from _paying(fit, sizes_of(model, fit, context), scheme)
        ranges = ranges_of(statistics, self.method, self.percentile, scheme)
        yield from quantize_units(model, fit, target, ranges, statistics)

    def _measured(self, model: ir.Model, chosen: Sequence[Unit], target: Target) -> tuple[str, ...]:
        """Names of the tensors to calibrate.

        With ``only`` they are those of all candidates, as when the choice was made: which tensors
        are looked at decides what the runtime fuses, and so the last bit of all of them.
        """
        if self.only:
            wanted = Wanted(self.op_types, self.skip)
            return tensor_names(exhaust(candidates(model, target, wanted))[1])
        return tuple(value.name or "" for value in calibrated_values(chosen))


def _named(units: Sequence[Unit], only: tuple[str, ...]) -> Generator[Note, None, list[Unit]]:
    """The units with these names; notes on names that no unit has."""
    names = Names(only)
    found = [unit for unit in units if unit.node in names]
    for pattern in names.unused(unit.node for unit in found):
        yield Note.refused(pattern, "no node with an integer kernel has a name like this")
    return found


def _paying(
    units: Sequence[Unit], sizes: Sizes, scheme: Int8Scheme
) -> Generator[Note, None, list[Unit]]:
    """The units that make the model fastest in integers; notes on other products."""
    paying = place(units, sizes, scheme)
    for unit in units:
        gain_us = gain_ns(unit, sizes, scheme) / 1000
        if unit in paying or unit.weight is None:
            continue
        reason = f"its float kernel is {-gain_us:.2g} us a sample faster"
        if gain_us > 0:
            reason = f"integers would save {gain_us:.2g} us a sample, less than conversions take"
        yield Note.refused(unit.node, reason)
    return [unit for unit in units if unit in paying]
