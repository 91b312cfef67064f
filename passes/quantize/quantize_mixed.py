"""Static int8 quantization of as much as a goal allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxopt.exactness import Exactness
from onnxopt.graph import opset
from onnxopt.targets import Target
from onnxopt.transform import Context, Need, Note, Pass
from onnxopt_passes.quantize._calibrated import fitting
from onnxopt_passes.quantize._mixing import Mixing
from onnxopt_passes.quantize._open_sizes import unproven_sizes
from onnxopt_passes.quantize._placement import tensor_names
from onnxopt_passes.quantize._ranges import Method, detail_of
from onnxopt_passes.quantize._selection import Wanted, candidates
from onnxopt_passes.quantize._static import LEAST_OPSET, exhaust, raised, scheme_of
from onnxopt_passes.quantize._units import Unit
from onnxopt_passes.quantize.quantize_static import QuantizeStatic


@dataclass(frozen=True)
class QuantizeMixed(Pass):
    """Quantize the set of nodes P that is fastest among those with ``error(P) <= goal``.

    First everything is placed as ``quantize-static`` does, for speed alone. If that misses the
    context's goal on search data, the power ``e_i^2`` of the noise that each tensor and weight in
    codes adds to the outputs is measured, the rest in float; the powers as good as add up, so that
    ``time(P) + λ Σ e_i^2`` has an exact minimum over all P, a minimum cut, for every price λ of
    noise. λ is bisected; each placement on the way is built and run on search data beside the
    original. The goal is kept with some room, for data not seen yet. Mixed precision by measured
    sensitivities after HAWQ (Dong et al., 2019) and AdaQuant's integer programme (Hubara et al.,
    2021); the cut also knows what conversions cost.

    The result is that of a ``quantize-static{only=[…]}``, which is given in a note and needs
    neither the search nor the goal.

    Attributes:
        method: How a range follows from the values seen; ``auto`` takes for each tensor the one
            with the least expected error.
        percentile: For ``method=percentile``: the share kept, in percent.
        skip: Nodes to leave in float, by name (``*`` and ``?`` allowed).
        op_types: Ops to quantize; empty for every op with an integer kernel.
        refined: Judge each placement as ``refine-rounding`` would leave it, which is to follow as
            a step of its own; a placement that fits without it is taken as it is.
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DATA, Need.TARGET})

    method: Method = "auto"
    percentile: float = 99.99
    skip: tuple[str, ...] = ()
    op_types: tuple[str, ...] = ()
    refined: bool = False

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Quantize the model's main graph."""
        target, scheme = scheme_of(context, self.name)
        name = model.graph.name or "model"
        if scheme is None:
            yield Note.refused(name, f"{target.name} has no int8 scheme")
            return
        if unproven := unproven_sizes(model, target):
            yield Note.refused(name, unproven)
            return
        base = model.clone()
        notes = list(raised(base, context)) if self._candidates(base, target)[1] else []
        if opset(base) < LEAST_OPSET:
            yield from notes
            return
        refusals, found = self._candidates(base, target)
        yield from refusals
        if not found:
            return
        statistics = context.statistics(base, tensor_names(found), detail_of(self.method))
        units = yield from fitting(found, statistics)
        mixing = Mixing(self._options(), base, units, statistics, target, context, self.refined)
        best = mixing.best()
        yield from mixing.left_in_float(best)
        if best.chosen:
            yield from raised(model, context)
            yield from mixing.applied_to(model, best)

    def _options(self) -> QuantizeStatic:
        return QuantizeStatic(
            method=self.method, percentile=self.percentile, skip=self.skip, op_types=self.op_types
        )

    def _candidates(self, model: ir.Model, target: Target) -> tuple[list[Note], list[Unit]]:
        return exhaust(candidates(model, target, Wanted(self.op_types, self.skip)))
