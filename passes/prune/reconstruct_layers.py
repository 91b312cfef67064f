"""Gives the layers of a pruned model the weights that make up best for what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.comparing import kept
from onnxopt.data import Sample
from onnxopt.errors import DataError, ModelError
from onnxopt.exactness import Exactness
from onnxopt.graph import Editor, label
from onnxopt.transform import Context, Need, Note, Pass
from onnxopt_passes._rows import count_positions, input_rows, output_rows
from onnxopt_passes._trial import Outcome, Trial, session_config
from onnxopt_passes._walk import Walk, few_samples
from onnxopt_passes.prune._latency import sizes_of
from onnxopt_passes.prune._products import Product, find_products
from onnxopt_passes.prune._regression import Moments, best_change

Array = npt.NDArray[Any]
_HELD_OUT_EVERY = 4
_UNTOUCHED = 1e-9  # square of a relative error that is rounding


@dataclass(frozen=True)
class ReconstructLayers(Pass):
    """Give each Conv, ConvTranspose, Gemm and MatMul the W, b of ``min |W x' + b - y|^2``.

    ``x'`` is what the layer reads in the pruned model, after all layers before it have been
    reconstructed, ``y`` what the original computes at the same place, of the channels that are
    left. Where the output is added to something known by then, as a residual block's is, the sum is
    what ``y`` stands for, so that the block makes up for what its shortcut has lost as well. The
    minimum is a ridge regression around the weights as they are, from sums over sampled positions;
    its strength is chosen, and a change made, by the error on search data. If the outputs are
    no better in the end, everything stays as it was; that is told by the geometric mean of the
    samples' errors, since one page without text outweighs all others in an arithmetic one.

    He et al. (2017), "Channel Pruning for Accelerating Very Deep Neural Networks"; Luo et al.
    (2017), "ThiNet".

    Attributes:
        samples: The most calibration samples to run.
        positions: The most output positions to look at, of each layer over all samples.
        strengths: Those of the ridge to choose from, as shares of the mean power of the inputs.
        most_inputs: Layers with more inputs to an output are left as they are.
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DATA, Need.TEACHER})

    samples: int = 64
    positions: int = 16384
    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 1000.0)
    most_inputs: int = 4608

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Reconstruct the layers of a pruned model's main graph."""
        original = context.teacher
        if original is None:
            raise DataError("there is no original model to compare with")
        sizes = sizes_of(original, context)
        found = list(find_products(model, original, sizes))
        yield from (one for one in found if isinstance(one, Note))
        products = [one for one in found if isinstance(one, Product)]
        if not products:
            return
        trial, editor, name = Trial(original, context), Editor(model), model.graph.name or "model"
        before = _typical(trial.of(model))
        olds = [(product, product.grouped(), product.bias()) for product in products]
        notes = list(self._reconstruct(model, original, products, context))
        after = _typical(trial.of(model))
        if after < before:
            yield from notes
            yield _note(name, "error of the outputs ", before, after)
            return
        for product, weight, bias in olds:
            product.set_grouped(weight)
            if product.can_set_bias():
                product.set_bias(bias, editor)
        yield from (note for note in notes if note.kind == "refused")
        if before != after:
            text = f"its weights are as they were: the error of the outputs is {before:.3g}"
            yield Note.refused(name, f"{text}, and would be {after:.3g}")

    def _reconstruct(
        self, model: ir.Model, original: ir.Model, products: Sequence[Product], context: Context
    ) -> Iterator[Note]:
        samples, config = few_samples(original, context, self.samples), session_config(context)
        fitted = len(samples)
        samples += _held_out(context, fitted)
        ours = Walk(model, samples, config)
        theirs = Walk(original, samples, config, _out_of_order(original, products))
        editor = Editor(model)
        for number, product in enumerate(products):
            context.progress("reconstruct layers", number, len(products))
            generator = np.random.default_rng([context.seed, number])
            try:
                runs = _runs(product, ours, theirs)
            except ModelError as error:
                yield Note.refused(
                    product.node, f"from here on nothing can be compared: {error.found}"
                )
                return
            found = self._solve(product, runs, fitted, generator)
            if isinstance(found, str):
                yield Note.refused(product.node, found)
            elif found is not None:
                yield _apply(product, found, editor)

    def _solve(
        self,
        product: Product,
        runs: Sequence[_Run],
        fitted: int,
        generator: np.random.Generator,
    ) -> _Solution | str | None:
        """The change of a layer; a reason why there can be none; None where none is better."""
        weight, bias = product.grouped(), product.bias()
        groups, outputs, inputs = weight.shape
        if not weight.size:
            return None
        if any(run.wanted.shape[product.channel_axis] != groups * outputs for run in runs):
            return f"it is not known which channels of {product.target} it has"
        if inputs > self.most_inputs:
            return f"it has {inputs} inputs to an output, more than {self.most_inputs}"
        parts = [
            Moments(groups, inputs, outputs, has_bias=product.can_set_bias()) for _ in range(2)
        ]
        rows = max(self.positions // len(runs), 1)
        for number, run in enumerate(runs):
            x, y = _rows(product, run, rows, generator)
            made = x @ weight.astype(np.float32).swapaxes(1, 2) + bias[:, np.newaxis]
            residue = (y - made).astype(np.float32)
            if not number and np.square(residue).sum() <= _UNTOUCHED * np.square(y).sum():
                return None
            for part, chosen in zip(
                parts, _parts(number, fitted, len(runs), x.shape[1]), strict=True
            ):
                part.add(x[:, chosen], residue[:, chosen], y[:, chosen])
        fit, held = parts
        change = best_change(fit, held, weight, self.strengths)
        if change is None:
            return None
        return _Solution(change, held.error(), held.error(change))


@dataclass(frozen=True, eq=False)
class _Run:
    """What a layer reads on a sample, and what it should give."""

    source: Array
    wanted: Array


@dataclass(frozen=True, eq=False)
class _Solution:
    """The change of a layer's weight and bias, and the squares of its errors, held out."""

    change: Array
    before: float
    after: float


def _runs(product: Product, ours: Walk, theirs: Walk) -> list[_Run]:
    source = product.source.name or ""
    others = [value.name or "" for value in product.others]
    found = []
    asked = ours.until([source, *others]), theirs.until([product.target])
    for own, its in zip(*asked, strict=True):
        wanted = kept.take(np.asarray(its[product.target]), product.left)
        wanted = wanted / product.shaped(product.scale)
        for other in others:
            wanted = wanted - np.asarray(own[other])
        found.append(_Run(np.asarray(own[source]), wanted.astype(np.float32)))
    return found


def _rows(
    product: Product, run: _Run, most: int, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Inputs and wanted outputs at sampled positions, float32 [groups, positions, …]."""
    count = count_positions(product.node, run.wanted.shape)
    chosen = generator.permutation(count)[:most] if count > most else np.arange(count)
    x = input_rows(product.node, run.source, run.wanted.shape, product.kernel, chosen)
    y = output_rows(product.node, run.wanted, chosen)
    return x, y.reshape(len(chosen), product.group, -1).swapaxes(0, 1)


def _held_out(context: Context, fitted: int) -> list[Sample]:
    """Samples of other source items than those that are fitted to, where there are any."""
    data = context.search
    if data is None:
        return []
    return list(data.take(range(min(len(data), max(fitted // _HELD_OUT_EVERY, 1)))))


def _parts(number: int, fitted: int, count: int, positions: int) -> tuple[slice, slice]:
    """Which positions of a sample to fit to, and which to hold out: of single samples, some."""
    everything, nothing = slice(None), slice(0)
    if fitted < count:
        return (everything, nothing) if number < fitted else (nothing, everything)
    if count >= _HELD_OUT_EVERY:
        is_held = number % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
        return (nothing, everything) if is_held else (everything, nothing)
    cut = positions - positions // _HELD_OUT_EVERY
    return slice(cut), slice(cut, None)


def _apply(product: Product, found: _Solution, editor: Editor) -> Note:
    weight, bias = product.grouped(), product.bias()
    inputs = weight.shape[2]
    product.set_grouped(weight + found.change[:, :, :inputs])
    if found.change.shape[2] > inputs:
        product.set_bias(bias + found.change[:, :, inputs], editor)
    return _note(label(product.node), "error ", found.before**0.5, found.after**0.5)


def _typical(outcome: Outcome) -> float:
    """The geometric mean of the samples' errors."""
    errors = np.maximum(np.array(outcome.errors, np.float64), 1e-12)
    return float(np.exp(np.mean(np.log(errors))))


def _note(name: str, what: str, before: float, after: float) -> Note:
    reason = f"{what}{before:.3g}, now {after:.3g} on the samples kept for choices"
    return Note("applied", name, reason, {"error_before": before, "error_after": after})


def _out_of_order(original: ir.Model, products: Sequence[Product]) -> set[str]:
    """Targets that the original makes before those of layers before."""
    places = {out.name: at for at, node in enumerate(original.graph) for out in node.outputs}
    held, reached = set(), -1
    for product in products:
        place = places[product.target]
        if place < reached:
            held.add(product.target)
        reached = max(reached, place)
    return held
