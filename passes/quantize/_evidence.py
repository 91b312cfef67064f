"""What a layer reads in the quantized model beside what it should give, on a few samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.errors import DataError, ModelError
from onnxopt.transform import Context, Note
from onnxopt_passes._rows import count_positions, input_rows, mean_row, output_rows
from onnxopt_passes._trial import session_config
from onnxopt_passes._walk import Walk, few_samples, reads
from onnxopt_passes.quantize._already import format_of
from onnxopt_passes.quantize._layers import Layer, find_layers

Array = npt.NDArray[Any]
_PER_INPUT, _FEWEST = 16, 1024


@dataclass(frozen=True, eq=False)
class Evidence:
    """A layer on some samples.

    Attributes:
        layer: The layer.
        inputs: What it reads at sampled positions, samples one after the other, float32
            [groups, positions, inputs of a group].
        wanted: What it should give there, bias included, float32
            [groups, positions, outputs of a group].
        input_means: Of each sample over all positions, float64 [samples, groups, inputs].
        wanted_means: The same of what it should give, float64 [samples, groups, outputs].
    """

    layer: Layer
    inputs: Array
    wanted: Array
    input_means: Array
    wanted_means: Array

    def offsets(self, real: Array) -> Array:
        """The bias that each sample asks for beside a weight, float64 [samples, groups, outputs].

        Args:
            real: The weight, [groups, outputs, inputs].
        """
        found: Array = self.wanted_means - np.einsum("gmk,sgk->sgm", real, self.input_means)
        return found


@dataclass(frozen=True)
class Amount:
    """How much to look at.

    Attributes:
        samples: The most samples.
        positions: The most single positions of each layer, over all samples. A layer with few
            inputs to an output, a depthwise one most of all, needs no more than 16 for each.
    """

    samples: int
    positions: int = 1

    def rows(self, layer: Layer, samples: int) -> int:
        """Positions of a layer to look at in each of so many samples."""
        inputs = layer.weight[:1].size
        enough = max(_PER_INPUT * inputs, _FEWEST)
        return max(min(self.positions, enough) // samples, 1)


def walk_layers(model: ir.Model, context: Context, amount: Amount) -> Iterator[Evidence | Note]:
    """Each layer of a quantized model, in graph order, after those before it were changed.

    Float layers that nothing in codes comes before compute what they should, and are left out.

    Args:
        model: The quantized model; the caller may change a layer that was given out.
        context: For the original model and the data.
        amount: How much data to look at.

    Raises:
        DataError: There is no original model or no data.
    """
    teacher = context.teacher
    if teacher is None:
        raise DataError("there is no original model to compare with")
    scheme = context.target.int8 if context.target is not None else None
    float_bias = scheme is not None and scheme.bias == "float"
    found = list(find_layers(model, teacher, float_bias))
    yield from (one for one in found if isinstance(one, Note))
    layers = _in_order([one for one in found if isinstance(one, Layer)], teacher)
    if not any(layer.in_codes for layer in layers):
        return
    layers = _affected(layers, model)
    samples, config = few_samples(teacher, context, amount.samples), session_config(context)
    walks = Walk(model, samples, config), Walk(teacher, samples, config)
    for number, layer in enumerate(layers):
        context.progress("walk through the layers", number, len(layers))
        generator = np.random.default_rng([context.seed, number])
        try:
            evidence = _evidence(layer, walks, amount.rows(layer, len(samples)), generator)
        except ModelError as error:
            yield Note.refused(layer.node, f"from here on nothing can be compared: {error.found}")
            return
        yield evidence


def _in_order(layers: Sequence[Layer], teacher: ir.Model) -> list[Layer]:
    places = {node: at for at, node in enumerate(teacher.graph)}
    return sorted(layers, key=lambda layer: places[layer.twin])


def _affected(layers: Sequence[Layer], model: ir.Model) -> list[Layer]:
    """The layers in codes and those that read what codes have gone into."""
    noisy: set[ir.Value] = set()
    for node in model.graph:
        if format_of(node) is not None or not noisy.isdisjoint(reads(node)):
            noisy.update(node.outputs)
    return [layer for layer in layers if layer.in_codes or layer.source in noisy]


def _evidence(
    layer: Layer, walks: tuple[Walk, Walk], rows: int, generator: np.random.Generator
) -> Evidence:
    source, output = layer.source.name or "", layer.twin.outputs[0].name or ""
    kernel = layer.weight.shape[2:] if layer.node.op_type == "Conv" else ()
    parts = []
    for own, its in zip(walks[0].until([source]), walks[1].until([output]), strict=True):
        x = np.asarray(own[source])
        y = (np.asarray(its[output]) + layer.shaped(layer.twin_row)) / layer.shaped(layer.out_scale)
        count = count_positions(layer.node, y.shape)
        chosen = generator.permutation(count)[:rows] if count > rows else np.arange(count)
        axes = tuple(axis for axis in range(y.ndim) if axis != layer.channel_axis % y.ndim)
        parts.append(
            (
                input_rows(layer.node, x, y.shape, kernel, chosen),
                output_rows(layer.node, y, chosen).astype(np.float32),
                mean_row(layer.node, x, y.shape, kernel),
                y.mean(axis=axes, dtype=np.float64).reshape(layer.group, -1),
            )
        )
    inputs, wanted, input_means, wanted_means = zip(*parts, strict=True)
    grouped = np.concatenate(wanted).reshape(-1, *wanted_means[0].shape).swapaxes(0, 1)
    return Evidence(
        layer,
        np.concatenate(inputs, axis=1),
        grouped,
        np.stack(input_means),
        np.stack(wanted_means),
    )
