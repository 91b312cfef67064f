"""recognize-group-normalization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, constant, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._algebra import (
    ARITHMETIC,
    FIRST_OPSET,
    Polynomial,
    expand,
    float_type,
    leak,
    readers,
)

_FIRST_OPSET = 21
_GROUPED_RANK = 3


@dataclass(frozen=True)
class RecognizeGroupNormalization(Pass):
    """``Reshape(InstanceNormalization(Reshape(x)))·s + b = GroupNormalization(x, s, b; G)``.

    Where the first Reshape puts the channels into G groups [batch, G, rest], the second restores
    the declared shape, and ``s`` and ``b`` are numbers or vary along the channels only. What the
    inner normalization multiplies and adds must be the same for all groups. ONNX Runtime's CPU
    provider has no kernel for the operator: this is for devices that do.
    """

    looks_for = frozenset({"InstanceNormalization"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each InstanceNormalization."""
        editor = Editor(model)
        for node, version in list(nodes_with_opset(model)):
            if version >= FIRST_OPSET and is_op(node, "InstanceNormalization"):
                found = _match(node)
                if isinstance(found, str):
                    yield Note.refused(node, found)
                elif found is not None and version < _FIRST_OPSET:
                    reason = f"GroupNormalization needs opset {_FIRST_OPSET}, this is {version}"
                    yield Note.refused(node, f"{reason}: raise-opset first")
                elif found is not None:
                    yield _replace(editor, found)


@dataclass(frozen=True)
class _Match:
    source: ir.Value
    groups: int
    epsilon: float
    scale: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]
    nodes: frozenset[ir.Node]
    last: ir.Node


def _match(node: ir.Node) -> _Match | str | None:
    grouped = node.inputs[0]
    before = None if grouped is None else grouped.producer()
    source = before.inputs[0] if before is not None and is_op(before, "Reshape") else None
    channels = None if source is None or source.shape is None else source.shape[1]
    inner = [constant(value) for value in node.inputs[1:]]
    if grouped is None or before is None or source is None or any(a is None for a in inner):
        return None
    after = [n for n in readers(node.outputs[0], ("Reshape",), 2) if _restores(n, source)]
    if not after or not isinstance(channels, int):
        return None
    numbers = [np.unique(array.astype(np.float64)) for array in inner if array is not None]
    groups = inner[0].size if inner[0] is not None else 0
    if any(array.size != 1 for array in numbers):
        return "its own scale and bias differ between the groups"
    if groups == 0 or channels % groups or not _is_grouping(before, groups):
        return "the first Reshape is not known to put the channels into groups"
    return _with_affine(node, source, after[0], before, (numbers[0], numbers[1], channels, groups))


def _restores(node: ir.Node, source: ir.Value) -> bool:
    shape = node.outputs[0].shape
    if shape is None or source.shape is None or shape != source.shape:
        return False
    return all(isinstance(size, int) or size.value is not None for size in shape)


def _is_grouping(node: ir.Node, groups: int) -> bool:
    """Whether a Reshape makes [batch, groups, rest] without touching the batch."""
    shape = constant(node.inputs[1])
    sizes = [] if shape is None else shape.reshape(-1).tolist()
    source = node.inputs[0]
    batch = None if source is None or source.shape is None else source.shape[0]
    fits = len(sizes) == _GROUPED_RANK and sizes[1] == groups
    return fits and (sizes[0] == batch or (sizes[0] == 0 and not attribute(node, "allowzero", 0)))


def _with_affine(
    node: ir.Node,
    source: ir.Value,
    after: ir.Node,
    before: ir.Node,
    inner: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], int, int],
) -> _Match | str:
    """The match with as much arithmetic behind it as varies along the channels only."""
    own_scale, own_bias, channels, groups = inner
    value, rank = after.outputs[0], len(source.shape or ())
    epsilon = float(str(attribute(node, "epsilon", 1e-5)))
    for last in [*reversed(readers(value, ARITHMETIC, 4)), after]:
        total = expand(last.outputs[0], {value})
        parts = None if total is None else _by_channel(total, value, channels, rank)
        if total is None or parts is None:
            continue
        nodes = total.nodes | {node, before, after}
        read = leak(nodes, last)
        if read is not None:
            return f"{read.name} is read elsewhere too"
        scale, bias = parts[0] * own_scale, parts[0] * own_bias + parts[1]
        return _Match(source, groups, epsilon, scale, bias, nodes, last)
    return "its result is not known"


def _by_channel(
    total: Polynomial, value: ir.Value, channels: int, rank: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Factor and summand of a value by channel; None where they vary along other axes."""
    scale, bias = np.zeros(channels), np.zeros(channels)
    if total.constant_rank > rank:
        return None
    for key, factor in total.terms.items():
        exponents = dict(key)
        into = scale if exponents.pop(value, 0) == 1 else bias
        product = np.full(channels, factor)
        for item, by in exponents.items():
            array = constant(item)
            wanted = (channels, *[1] * (rank - 2))
            if array is None or array.shape[-rank + 1 :] != wanted or array.size != channels:
                return None
            product = product * array.astype(np.float64).reshape(-1) ** by
        into += product
    known = all(dict(key).get(value, 0) in (0, 1) for key in total.terms)
    return (scale, bias) if known else None


def _replace(editor: Editor, found: _Match) -> Note:
    last, base = found.last, label(found.last)
    dtype = (float_type(found.nodes) or ir.DataType.FLOAT).numpy()
    scale = editor.constant(last, f"{base}/scale", found.scale.astype(dtype))
    bias = editor.constant(last, f"{base}/bias", found.bias.astype(dtype))
    attributes = {"epsilon": found.epsilon, "num_groups": found.groups}
    new = editor.insert_before(
        last,
        "GroupNormalization",
        [found.source, scale, bias],
        f"{base}/group_norm",
        attributes,
        origin=sorted(found.nodes, key=label),
    )
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{len(found.nodes)} nodes became GroupNormalization")
