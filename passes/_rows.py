"""A layer's inputs and outputs at a few positions, as the rows of a linear problem.

A Conv at one output position is a product with one patch of its input, a MatMul with one row. So
is a ConvTranspose, with those entries of its input that its stride lets reach the position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import attribute, is_op

Array = npt.NDArray[Any]
_CONVOLUTIONS = ("Conv", "ConvTranspose")


def output_rows(node: ir.Node, outputs: Array, positions: npt.NDArray[np.intp]) -> Array:
    """The outputs at some positions, [positions, channels]."""
    if not is_op(node, *_CONVOLUTIONS):
        return outputs.reshape(-1, outputs.shape[-1])[positions]
    places = np.unravel_index(positions, (outputs.shape[0], *outputs.shape[2:]))
    return np.moveaxis(outputs, 1, -1)[places]


def count_positions(node: ir.Node, shape: Sequence[int]) -> int:
    """The number of positions of outputs of this shape."""
    channels = shape[1] if is_op(node, *_CONVOLUTIONS) else shape[-1]
    return int(np.prod(shape, dtype=np.int64)) // max(channels, 1)


def input_rows(
    node: ir.Node,
    inputs: Array,
    output_shape: Sequence[int],
    kernel: Sequence[int],
    positions: npt.NDArray[np.intp],
) -> Array:
    """What a layer reads for its outputs at some positions.

    Args:
        node: The layer.
        inputs: Its input.
        output_shape: Of its output.
        kernel: The sizes of a Conv's kernel; empty for others.
        positions: Flat numbers of output positions, channels left out.

    Returns:
        [groups, positions, inputs of a group], in the order of the weight's axes.
    """
    if not is_op(node, *_CONVOLUTIONS):
        chosen: Array = inputs.reshape(1, -1, inputs.shape[-1])[:, positions]
        return chosen
    group = int(str(attribute(node, "group", 1)))
    batch, *places = np.unravel_index(positions, (output_shape[0], *output_shape[2:]))
    indices, inside = _taps(node, inputs.shape[2:], output_shape[2:], kernel, places)
    axes = len(kernel)
    index: list[Array] = [batch.reshape(-1, *[1] * axes)]
    mask = np.ones((positions.size, *[1] * axes), bool)
    for axis, (at, ok) in enumerate(zip(indices, inside, strict=True)):
        shape = [positions.size] + [1] * axes
        shape[axis + 1] = at.shape[1]
        index.append(at.reshape(shape))
        mask = mask & ok.reshape(shape)
    patches = np.moveaxis(inputs, 1, -1)[tuple(index)] * mask[..., np.newaxis]
    rows = np.moveaxis(patches, -1, 1).reshape(positions.size, group, -1)
    return np.moveaxis(rows, 0, 1)


def mean_row(
    node: ir.Node, inputs: Array, output_shape: Sequence[int], kernel: Sequence[int]
) -> Array:
    """The mean of ``input_rows`` over all positions, float64 [groups, inputs of a group]."""
    if not is_op(node, *_CONVOLUTIONS):
        rows: Array = inputs.reshape(-1, inputs.shape[-1]).mean(0, dtype=np.float64)
        return rows[np.newaxis]
    group = int(str(attribute(node, "group", 1)))
    places = [np.arange(size) for size in output_shape[2:]]
    indices, inside = _taps(node, inputs.shape[2:], output_shape[2:], kernel, places)
    found: Array = inputs.mean(0, dtype=np.float64)
    for axis, (at, ok) in enumerate(zip(indices, inside, strict=True)):
        share = np.zeros((found.shape[1], kernel[axis]))
        np.add.at(share, (at, np.arange(kernel[axis])), ok / len(places[axis]))
        found = np.tensordot(found, share, axes=([1], [0]))
    return found.reshape(group, -1)


def spells_its_padding(node: ir.Node) -> bool:
    """Whether ``input_rows`` knows where a ConvTranspose starts; true for other nodes."""
    if not is_op(node, "ConvTranspose"):
        return True
    kind = str(attribute(node, "auto_pad", "NOTSET"))
    return kind in ("NOTSET", "VALID") and "output_shape" not in node.attributes


def _taps(
    node: ir.Node,
    input_sizes: Sequence[int],
    output_sizes: Sequence[int],
    kernel: Sequence[int],
    places: Sequence[Array],
) -> tuple[list[Array], list[Array]]:
    """Along each axis, for each position the input places of all taps, and which exist."""
    axes = len(kernel)
    strides, dilations = _ints(node, "strides", axes), _ints(node, "dilations", axes)
    pads = _pads(node, input_sizes, output_sizes, kernel, strides, dilations)
    indices, inside = [], []
    transposed = is_op(node, "ConvTranspose")
    for axis in range(axes):
        if transposed:
            end = places[axis] + pads[axis]
            at = end[:, np.newaxis] - np.arange(kernel[axis]) * dilations[axis]
            hit = at % strides[axis] == 0
            at = at // strides[axis]
            inside.append(hit & (at >= 0) & (at < input_sizes[axis]))
            indices.append(np.clip(at, 0, input_sizes[axis] - 1))
            continue
        start = places[axis] * strides[axis] - pads[axis]
        at = start[:, np.newaxis] + np.arange(kernel[axis]) * dilations[axis]
        inside.append((at >= 0) & (at < input_sizes[axis]))
        indices.append(np.clip(at, 0, input_sizes[axis] - 1))
    return indices, inside


def _pads(
    node: ir.Node,
    input_sizes: Sequence[int],
    output_sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Sequence[int]:
    """The padding before each axis."""
    kind = str(attribute(node, "auto_pad", "NOTSET"))
    if not kind.startswith("SAME"):
        return _ints(node, "pads", 2 * len(kernel), 0)
    found = []
    for axis, taps in enumerate(kernel):
        reach = (output_sizes[axis] - 1) * strides[axis] + (taps - 1) * dilations[axis] + 1
        total = max(reach - input_sizes[axis], 0)
        found.append(total // 2 if kind == "SAME_UPPER" else total - total // 2)
    return found


def _ints(node: ir.Node, name: str, count: int, default: int = 1) -> Sequence[int]:
    value = attribute(node, name, ())
    made = [int(str(v)) for v in value] if isinstance(value, list | tuple) else []
    return made or [default] * count
